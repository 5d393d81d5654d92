"""The files of /proc that are about the system, each as a function of the kernel's view (proc(5)).

Memory and processor figures are read from the host's /proc where there is one; only lines that are
listed here are passed on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.filesystems.proc_process import boot_clock_ns

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.vfs.filesystems.process_view import ProcessView

RELEASE: Final = b"6.1.0-balenawasm"
"""The version of Linux whose behaviour is imitated."""

_MEMORY_LINES: Final = frozenset(
    b"MemTotal MemFree MemAvailable Buffers Cached SwapCached Active Inactive SwapTotal SwapFree "
    b"Dirty Mapped Shmem Slab SReclaimable SUnreclaim Committed_AS".split()
)
_STAT_LINES: Final = frozenset((b"cpu", b"ctxt", b"btime"))


def random_uuid() -> bytes:
    """A random UUID as text (RFC 9562, version 4); importing uuid costs each start 2 ms."""
    digits = bytearray(os.urandom(16).hex().encode())
    digits[12] = ord("4")
    digits[16] = ord("89ab"[digits[16] % 4])
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


_BOOT_ID: Final = random_uuid()


def uptime(_: ProcessView) -> bytes:
    """Seconds since the machine started, and the same as idle time."""
    seconds = boot_clock_ns() / 10**9
    return b"%.2f %.2f\n" % (seconds, seconds * (os.cpu_count() or 1))


def loadavg(view: ProcessView) -> bytes:
    """The host's load; the container's processes."""
    pids = [process.pid for process in view.processes.all()]
    load = b" ".join(b"%.2f" % value for value in os.getloadavg())
    return b"%s 1/%d %d\n" % (load, len(pids), max(pids, default=0))


def meminfo(_: ProcessView) -> bytes:
    """The host's memory."""
    lines = [line for line in _host(b"meminfo") if line.split(b":")[0] in _MEMORY_LINES]
    if not lines:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 10
        lines = [
            b"MemTotal:       %8d kB" % total,
            b"MemFree:        %8d kB" % free,
            b"MemAvailable:   %8d kB" % free,
        ]
    return b"\n".join([*lines, b""])


def cpuinfo(_: ProcessView) -> bytes:
    """As many processors as the host has, of the kind that the guest's code is for."""
    return b"".join(
        b"processor\t: %d\nvendor_id\t: WebAssembly\nmodel name\t: wasm32 on %s\n\n"
        % (number, os.uname().machine.encode())
        for number in range(os.cpu_count() or 1)
    )


def swaps(_: ProcessView) -> bytes:
    """Only the heading: what the host swaps to is not the container's."""
    return b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


def cmdline(_: ProcessView) -> bytes:
    """Nobody has booted this kernel."""
    return b"\n"


def version(_: ProcessView) -> bytes:
    """What `uname -a` would say."""
    return b"Linux version %s (balenawasm) #1 SMP\n" % RELEASE


def stat(view: ProcessView) -> bytes:
    """The host's processors, the container's processes."""
    lines = [
        line
        for line in _host(b"stat")
        if line.split(b" ")[0] in _STAT_LINES or line.startswith(b"cpu")
    ]
    processes = view.processes.all()
    living = sum(process.outcome is None for process in processes)
    lines += [
        b"processes %d" % max((process.pid for process in processes), default=0),
        b"procs_running %d" % living,
        b"procs_blocked 0",
    ]
    return b"\n".join([*lines, b""])


def filesystems(view: ProcessView) -> bytes:
    """The kinds that are mounted."""
    kinds = dict.fromkeys(mount.kind for mount in view.namespace.mounts())
    return b"".join(b"nodev\t%s\n" % kind for kind in kinds)


FILES: Final[dict[bytes, Callable[[ProcessView], bytes]]] = {
    b"cmdline": cmdline,
    b"cpuinfo": cpuinfo,
    b"filesystems": filesystems,
    b"loadavg": loadavg,
    b"meminfo": meminfo,
    b"stat": stat,
    b"swaps": swaps,
    b"uptime": uptime,
    b"version": version,
}

SYSCTL: Final[dict[bytes, Callable[[ProcessView], bytes]]] = {
    b"fs/file-max": lambda _: b"1048576\n",
    b"kernel/hostname": lambda view: view.hostname.encode() + b"\n",
    b"kernel/domainname": lambda _: b"(none)\n",
    b"kernel/osrelease": lambda _: RELEASE + b"\n",
    b"kernel/ostype": lambda _: b"Linux\n",
    b"kernel/pid_max": lambda _: b"4194304\n",
    b"kernel/version": lambda _: b"#1 SMP\n",
    b"kernel/random/boot_id": lambda _: _BOOT_ID + b"\n",
    b"kernel/random/uuid": lambda _: random_uuid() + b"\n",
    b"kernel/random/entropy_avail": lambda _: b"256\n",
    b"net/core/somaxconn": lambda _: b"4096\n",
    b"vm/overcommit_memory": lambda _: b"1\n",
}
"""Path below /proc/sys → content."""


def _host(name: bytes) -> list[bytes]:
    try:
        return Path("/proc", os.fsdecode(name)).read_bytes().splitlines()
    except OSError:
        return []
