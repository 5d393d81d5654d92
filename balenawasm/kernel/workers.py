"""Threads that run guests, kept for the next one: a hand-over costs some microseconds, a new thread
ten times that.

Threads are daemons: a runner that wants to end does not wait for a guest that will not.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

IDLE_SECONDS: Final = 10.0
"""An idle worker goes after this long."""

Job = Callable[[], None]


class WorkerPool:
    """Runs each job on a thread of its own, at once."""

    def __init__(self, stack_bytes: int, idle_seconds: float = IDLE_SECONDS) -> None:
        self._stack_bytes = stack_bytes
        self._idle_seconds = idle_seconds
        self._idle: list[queue.SimpleQueue[Job]] = []
        self._lock = threading.Lock()

    def submit(self, job: Job) -> None:
        """Run a job. It must not raise."""
        with self._lock:
            if self._idle:
                self._idle.pop().put(job)
                return
            inbox: queue.SimpleQueue[Job] = queue.SimpleQueue()
            inbox.put(job)
            worker = threading.Thread(target=self._work, args=(inbox,), name="guest", daemon=True)
            # The size is a setting of the whole interpreter: nobody else's threads shall get ours.
            before = threading.stack_size(self._stack_bytes)
            try:
                worker.start()
            finally:
                threading.stack_size(before)

    def _work(self, inbox: queue.SimpleQueue[Job]) -> None:
        while True:
            try:
                job = inbox.get(timeout=self._idle_seconds)
            except queue.Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue
            job()
            del job
            with self._lock:
                self._idle.append(inbox)
