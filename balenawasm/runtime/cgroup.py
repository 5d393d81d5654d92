"""A container's cgroup (version 2): the host's own limits of memory, processor time and threads,
where we may set them.

Spec: Linux's Documentation/admin-guide/cgroup-v2.rst, "Memory", "CPU", "PID", "Delegation" and
"No Internal Process Constraint".

Containers' groups are children of a base: for root `balenawasm` at the top of the hierarchy, else
the parent of our own group, if it has been delegated to us and has no processes of its own (systemd
does that with `Delegate=yes` and `DelegateSubgroup=`). A runner makes its group and joins it before
its guests start; whoever waits for the runner removes it. Version 1 is not used.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from balenawasm.record import NamedTuple

if TYPE_CHECKING:
    from balenawasm.runtime.bundle import Limits

CONTROLLERS = frozenset({"cpu", "memory", "pids"})
MEMORY_HEADROOM = 96 << 20
"""Bytes for the runner itself beside the guests' linear memories: its Python, native code, stacks.
tmpfs come on top.
"""
PIDS_HEADROOM = 64
"""Threads of a runner that are no guests."""
_PERIOD = 100_000
_NAME = "balenawasm"


class Host(NamedTuple):
    """What a process finds out about its groups."""

    mount: Path
    own: Path
    """The process's own group."""


def find_host(
    mountinfo: Path = Path("/proc/self/mountinfo"), cgroup: Path = Path("/proc/self/cgroup")
) -> Host | None:
    """Where the hierarchy of version 2 is mounted; None when it is not."""
    try:
        own = next(
            line.partition("::")[2]
            for line in cgroup.read_text("utf-8").splitlines()
            if line.startswith("0::")
        )
        for line in mountinfo.read_text("utf-8").splitlines():
            fields, _, rest = line.partition(" - ")
            if rest.startswith("cgroup2 "):
                mount = Path(fields.split()[4])
                return Host(mount, mount / own.lstrip("/"))
    except (OSError, ValueError, StopIteration, IndexError):
        pass
    return None


def find_base(host: Host | None = None, *, root: bool | None = None) -> Path | None:
    """The directory that containers' groups are made in, with its controllers handed down; None
    when there is none that we may use.
    """
    host = find_host() if host is None else host
    if host is None:
        return None
    root = os.geteuid() == 0 if root is None else root
    try:
        if not root:
            return _delegated(host.own.parent)
        if not CONTROLLERS & _words(host.mount / "cgroup.controllers"):
            return None
        _hand_down(host.mount)
        base = host.mount / _NAME
        base.mkdir(exist_ok=True)
        return base if _hand_down(base) else None
    except OSError:
        return None


def _base_if_there() -> Path | None:
    """The base, should a container have used it: nothing is made or handed down."""
    host = find_host()
    if host is None:
        return None
    base = host.mount / _NAME if os.geteuid() == 0 else host.own.parent
    return base if base.is_dir() else None


def _delegated(base: Path) -> Path | None:
    usable = (
        base.stat().st_uid == os.geteuid()
        and os.access(base / "cgroup.procs", os.W_OK)
        and not (base / "cgroup.procs").read_bytes().strip()
    )
    return base if usable and _hand_down(base) else None


def _hand_down(group: Path) -> frozenset[str]:
    """Let children of a group have the controllers that it has; answer which."""
    there = CONTROLLERS & _words(group / "cgroup.controllers")
    control = group / "cgroup.subtree_control"
    for name in sorted(there - _words(control)):
        with contextlib.suppress(OSError):
            control.write_text(f"+{name}", "ascii")
    return CONTROLLERS & _words(control)


def enter(base: Path, name: str, limits: Limits, *, tmpfs_bytes: int) -> frozenset[str]:
    """Make a container's group, limit it, and move this process into it. Answers the controllers
    that are in effect; without any, there is no group. Raises nothing.
    """
    group = base / name
    kept: set[str] = set()
    try:
        group.mkdir(exist_ok=True)
        there = _words(group / "cgroup.controllers")
        for controller, file, text in _settings(limits, tmpfs_bytes):
            if controller in there:
                (group / file).write_text(text, "ascii")
                kept.add(controller)
        if kept:
            (group / "cgroup.procs").write_text(str(os.getpid()), "ascii")
    except OSError:
        kept = set()
    if not kept:
        remove(name, base)
    return frozenset(kept)


def _settings(limits: Limits, tmpfs_bytes: int) -> list[tuple[str, str, str]]:
    """(controller, file, text) for each limit."""
    found = [("pids", "pids.max", str(limits.processes + PIDS_HEADROOM))]
    if limits.memory is not None:
        most = limits.memory + MEMORY_HEADROOM + tmpfs_bytes
        found.append(("memory", "memory.max", str(most)))
    if limits.cpus is not None:
        quota = max(1000, round(limits.cpus * _PERIOD))
        found.append(("cpu", "cpu.max", f"{quota} {_PERIOD}"))
    if limits.cpu_weight is not None:
        found.append(("cpu", "cpu.weight", str(limits.cpu_weight)))
    return found


def was_out_of_memory(name: str, base: Path | None = None) -> bool:
    """Tell whether the kernel has killed for the group's memory limit."""
    base = _base_if_there() if base is None else base
    if base is None:
        return False
    try:
        text = (base / name / "memory.events").read_text("ascii")
    except OSError:
        return False
    counts = dict(line.split() for line in text.splitlines() if len(line.split()) == 2)
    return int(counts.get("oom_kill", "0")) > 0


def remove(name: str, base: Path | None = None) -> None:
    """Remove a group whose processes have ended, if it is there."""
    base = _base_if_there() if base is None else base
    if base is not None:
        with contextlib.suppress(OSError):
            (base / name).rmdir()


def remove_empty(base: Path, prefix: str) -> None:
    """Remove groups of that prefix that nobody is in: those of `run`s cannot remove their own."""
    with contextlib.suppress(OSError):
        for group in base.glob(f"{prefix}*"):
            remove(group.name, base)


def _words(file: Path) -> frozenset[str]:
    try:
        return frozenset(file.read_text("ascii").split())
    except OSError:
        return frozenset()
