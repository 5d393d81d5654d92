"""Keeps a container to its processor time from inside its runner.

`cpus` is kept by holding guests that compute (`Machine.hold`) where cgroups cannot do it. The time
of the whole runner counts: guests, and host calls for them. Time is a bucket that fills at the rate
of `cpus` and holds a tenth of a second of it; when it is empty, guests are held until it has been
made good. So a guest that was idle may use a little more for a moment, and over a second it gets
what it is allowed.

`cpu_time` is the processor time after which the container ends: SIGXCPU to every process, as
setrlimit(2) has it, and SIGKILL when another second has been used.

One thread that wakes up every 10 ms while guests compute, and less often while they wait.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_TICK = 0.01
_IDLE_TICK = 0.08
"""Seconds; in an idle tick a guest that starts to compute may overdraw, and makes it good."""
_BURST = 0.1
_REPAID = 0.01
"""Seconds of wall-clock time's worth that the bucket holds when guests go on."""
_BUSY = 0.05
"""The share of a tick that has to be used for the next one to be short."""
_XCPU_GRACE = 1.0


class Governor:
    """Watches one container. `hold(until_ns)` stops its guests, `signal_all` signals them.

    `cpus` None: no share is kept here; `cpu_time` None: no end.
    """

    def __init__(
        self,
        *,
        cpus: float | None,
        cpu_time: float | None,
        hold: Callable[[int], None],
        signal_all: Callable[[int], None],
        log: Callable[[str], None],
    ) -> None:
        self._cpus = cpus
        self._cpu_time = cpu_time
        self._hold = hold
        self._signal_all = signal_all
        self._log = log
        self._began = time.process_time()
        self._sent = 0
        self._thread = threading.Thread(target=self._watch, name="governor", daemon=True)

    def start(self) -> None:
        """Begin to watch; the thread lives as long as the runner."""
        self._thread.start()

    def _watch(self) -> None:
        before, used_before = time.monotonic(), time.process_time()
        bucket = 0.0
        pause = _TICK
        while True:
            time.sleep(pause)
            now, used = time.monotonic(), time.process_time()
            elapsed, spent = now - before, used - used_before
            before, used_before = now, used
            if self._cpus is not None:
                bucket = min(bucket + elapsed * self._cpus, _BURST * self._cpus) - spent
                if bucket < 0:
                    seconds = _REPAID - bucket / self._cpus
                    self._hold(time.monotonic_ns() + int(seconds * 1e9))
            if self._cpu_time is not None:
                self._check_end(used - self._began, self._cpu_time)
            pause = _TICK if spent > elapsed * _BUSY or bucket < 0 else _IDLE_TICK

    def _check_end(self, used: float, limit: float) -> None:
        if used >= limit and not self._sent:
            self._sent = signal.SIGXCPU
            self._log(f"the container has used the {limit:g} s of processor time it is allowed")
            self._signal_all(signal.SIGXCPU)
        elif used >= limit + _XCPU_GRACE and self._sent != signal.SIGKILL:
            self._sent = signal.SIGKILL
            self._signal_all(signal.SIGKILL)
