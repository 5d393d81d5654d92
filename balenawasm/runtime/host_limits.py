"""The limits of a container that the host has to keep: memory, processor time and share, threads.

A cgroup keeps them where we may make one; else, or as far as its controllers are missing, the
runner keeps them itself: see docs/limits.md. Used only by containers that have such limits.
"""

from __future__ import annotations

import contextlib
import math
import os
from typing import TYPE_CHECKING, Protocol

from balenawasm.runtime import cgroup
from balenawasm.runtime.bundle import MountKind
from balenawasm.runtime.governor import Governor
from balenawasm.runtime.rootfs import TMPFS_BYTES
from balenawasm.runtime.sweep import RUN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from balenawasm.runtime.bundle import Bundle

_NICE_STEP = 1.25
"""One nice level is this factor of a share."""
_LOWEST, _HIGHEST = -20, 19
_USUAL_WEIGHT = 100


class _Machine(Protocol):
    def hold(self, until_ns: int) -> None: ...


def keep_limits(
    bundle: Bundle,
    machine: _Machine,
    signal_all: Callable[[int], None],
    log: Callable[[str], None],
    *,
    base: Path | None = None,
) -> frozenset[str]:
    """Put a container's limits into effect, in its runner, before its guests start.

    Answers the cgroup controllers that keep some of them. `base` is for tests.
    """
    limits = bundle.limits
    base = cgroup.find_base() if base is None else base
    kept: frozenset[str] = frozenset()
    if base is not None:
        cgroup.remove_empty(base, RUN_PREFIX)
        kept = cgroup.enter(base, bundle.id, limits, tmpfs_bytes=_tmpfs_bytes(bundle))
    if limits.cpu_weight is not None and "cpu" not in kept:
        set_weight(limits.cpu_weight)
    cpus = limits.cpus if "cpu" not in kept else None
    if cpus is not None or limits.cpu_time is not None:
        Governor(
            cpus=cpus,
            cpu_time=limits.cpu_time,
            hold=machine.hold,
            signal_all=signal_all,
            log=log,
        ).start()
    return kept


def _tmpfs_bytes(bundle: Bundle) -> int:
    """What the container's file systems in memory may come to hold, /dev/shm included."""
    sizes = [mount.size or TMPFS_BYTES for mount in bundle.mounts if mount.kind is MountKind.TMPFS]
    return TMPFS_BYTES + sum(sizes)


def nice_level(weight: int) -> int:
    """The nice level whose share is nearest to a weight of 1 to 10000, where 100 is usual."""
    level = round(math.log(_USUAL_WEIGHT / weight, _NICE_STEP))
    return max(_LOWEST, min(level, _HIGHEST))


def set_weight(weight: int) -> None:
    """Set the nice level of this process, all its threads, and its session if it leads one: Linux
    shares processors among sessions first. More than the usual share needs a privilege.
    """
    level = nice_level(weight)
    with contextlib.suppress(OSError):
        for task in os.listdir("/proc/self/task"):  # noqa: PTH208 - names are all that is needed
            os.setpriority(os.PRIO_PROCESS, int(task), level)
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:  # noqa: PTH123
            file.write(str(level))
