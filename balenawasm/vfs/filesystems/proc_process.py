"""The files in `/proc/<pid>`, each as a function of the process (proc(5))."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from balenawasm.vfs.filesystems.process_view import ProcessInfo, ProcessView

TICKS: Final = 100
"""Clock ticks a second, the unit of times in `stat`; every Linux says 100."""
PAGE: Final = 4096
_MAX_COMM: Final = 15
_SIGCHLD: Final = 17
_NS_PER_TICK: Final = 10**9 // TICKS
_STATES: Final = {b"S": b"sleeping", b"T": b"stopped", b"Z": b"zombie"}
"""Of a living process it is not known whether it waits. Linux says S mostly, too."""


def comm(process: ProcessInfo, _: ProcessView) -> bytes:
    """The program's file name, cut off as Linux does."""
    return _comm(process) + b"\n"


def cmdline(process: ProcessInfo, _: ProcessView) -> bytes:
    """The arguments, each with a NUL behind; empty for a zombie."""
    return b"" if process.outcome is not None else _joined(process.argv)


def environ(process: ProcessInfo, _: ProcessView) -> bytes:
    """The environment it was started with, each with a NUL behind."""
    return b"" if process.outcome is not None else _joined(process.environ)


def status(process: ProcessInfo, _: ProcessView) -> bytes:
    """Lines of `Name: value`."""
    state = _state(process)
    signals = process.signals
    size = len(process.memory.view) >> 10
    return b"".join(
        b"%s:\t%s\n" % line
        for line in (
            (b"Name", _comm(process)),
            (b"Umask", b"%04o" % process.umask),
            (b"State", b"%s (%s)" % (state, _STATES[state])),
            (b"Tgid", b"%d" % process.pid),
            (b"Ngid", b"0"),
            (b"Pid", b"%d" % process.pid),
            (b"PPid", b"%d" % process.ppid),
            (b"TracerPid", b"0"),
            (b"Uid", b"0\t0\t0\t0"),
            (b"Gid", b"0\t0\t0\t0"),
            (b"FDSize", b"%d" % len(process.fds.entries())),
            (b"Groups", b"0 "),
            (b"NStgid", b"%d" % process.pid),
            (b"NSpid", b"%d" % process.pid),
            (b"NSpgid", b"%d" % process.pgid),
            (b"NSsid", b"%d" % process.session.sid),
            (b"VmPeak", b"%8d kB" % size),
            (b"VmSize", b"%8d kB" % size),
            (b"VmHWM", b"%8d kB" % size),
            (b"VmRSS", b"%8d kB" % size),
            (b"Threads", b"1"),
            (b"SigQ", b"0/0"),
            (b"SigPnd", b"0" * 16),
            (b"ShdPnd", b"%016x" % signals.pending),
            (b"SigBlk", b"%016x" % signals.mask),
            (b"SigIgn", b"%016x" % signals.ignored),
            (b"SigCgt", b"%016x" % signals.handled),
        )
    )


def stat(process: ProcessInfo, _: ProcessView) -> bytes:
    """One line of 52 fields; those that have no meaning here are 0."""
    fields = [0] * 50
    terminal = process.session.terminal
    signals = process.signals
    fields[1] = process.ppid
    fields[2] = process.pgid
    fields[3] = process.session.sid
    fields[4] = 0 if terminal is None else terminal.number
    fields[5] = -1 if terminal is None else terminal.foreground
    fields[11] = process.cpu_used_ns() // _NS_PER_TICK
    fields[13] = process.children_cpu_ns // _NS_PER_TICK
    fields[15] = 20  # priority
    fields[17] = 1  # threads
    fields[19] = _start_ticks(process)
    fields[20] = len(process.memory.view)
    fields[21] = len(process.memory.view) // PAGE
    fields[22] = process.limits.memory_bytes or (1 << 32)
    low = (1 << 31) - 1  # these fields have room for the old signals only
    fields[28] = signals.pending & low
    fields[29] = signals.mask & low
    fields[30] = signals.ignored & low
    fields[31] = signals.handled & low
    fields[35] = _SIGCHLD
    rest = b" ".join(b"%d" % field for field in fields[1:])
    return b"%d (%s) %s %s\n" % (process.pid, _comm(process), _state(process), rest)


def statm(process: ProcessInfo, _: ProcessView) -> bytes:
    """Memory in pages: all of it is resident data."""
    pages = len(process.memory.view) // PAGE
    return b"%d %d 0 0 0 %d 0\n" % (pages, pages, pages)


def io(process: ProcessInfo, _: ProcessView) -> bytes:
    """Counters of input and output; none are kept."""
    names = (b"rchar", b"wchar", b"syscr", b"syscw", b"read_bytes", b"write_bytes")
    return b"".join(b"%s: 0\n" % name for name in (*names, b"cancelled_write_bytes"))


def number(value: bytes) -> Callable[[ProcessInfo, ProcessView], bytes]:
    """A file that holds the same for every process."""
    return lambda _process, _view: value + b"\n"


def limits(process: ProcessInfo, _: ProcessView) -> bytes:
    """A table of the caps that apply."""
    caps = process.limits
    memory = caps.memory_bytes or (1 << 32)
    rows: tuple[tuple[str, int | None, str], ...] = (
        ("Max cpu time", None, "seconds"),
        ("Max file size", None, "bytes"),
        ("Max data size", memory, "bytes"),
        ("Max stack size", caps.stack_bytes, "bytes"),
        ("Max core file size", 0, "bytes"),
        ("Max resident set", memory, "bytes"),
        ("Max processes", caps.processes, "processes"),
        ("Max open files", caps.open_files, "files"),
        ("Max address space", memory, "bytes"),
    )
    lines = [f"{'Limit':<26}{'Soft Limit':<21}{'Hard Limit':<21}{'Units':<10}"]
    for name, cap, unit in rows:
        shown = "unlimited" if cap is None else str(cap)
        lines.append(f"{name:<26}{shown:<21}{shown:<21}{unit:<10}")
    return "\n".join([*lines, ""]).encode()


def mounts(_: ProcessInfo, view: ProcessView) -> bytes:
    """Lines as in fstab(5)."""
    return b"".join(
        b"%s %s %s %s 0 0\n"
        % (_escaped(mount.source), _escaped(mount.path), mount.kind, mount.options)
        for mount in view.namespace.mounts()
    )


def mountinfo(_: ProcessInfo, view: ProcessView) -> bytes:
    """The same, with numbers."""
    lines = []
    for number, mount in enumerate(view.namespace.mounts(), 1):
        device = mount.root().stat().dev
        lines.append(
            b"%d %d %d:%d / %s %s - %s %s %s\n"
            % (
                number,
                min(number - 1, 1),
                0,
                device & 0xFFFFF,
                _escaped(mount.path),
                mount.options,
                mount.kind,
                _escaped(mount.source),
                mount.options,
            )
        )
    return b"".join(lines)


FILES: Final[dict[bytes, Callable[[ProcessInfo, ProcessView], bytes]]] = {
    b"cmdline": cmdline,
    b"comm": comm,
    b"environ": environ,
    b"io": io,
    b"limits": limits,
    b"mountinfo": mountinfo,
    b"mounts": mounts,
    b"oom_score": number(b"0"),
    b"oom_score_adj": number(b"0"),
    b"stat": stat,
    b"statm": statm,
    b"status": status,
    b"wchan": number(b"0"),
}

LINKS: Final[dict[bytes, Callable[[ProcessInfo], bytes]]] = {
    b"cwd": lambda process: process.cwd or b"/",
    b"exe": lambda process: process.executable or b"/",
    b"root": lambda _: b"/",
}


def boot_clock_ns() -> int:
    """Nanoseconds since the machine started."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def _start_ticks(process: ProcessInfo) -> int:
    age = time.monotonic_ns() - process.started_ns
    return (boot_clock_ns() - age) * TICKS // 10**9


def _comm(process: ProcessInfo) -> bytes:
    program = process.comm or process.executable or (process.argv[0] if process.argv else b"")
    name = program.rpartition(b"/")[2] or b"guest"
    # The name stands in brackets and on lines of its own: what would break those is shown as a
    # question mark.
    return bytes(0x3F if byte < 0x20 else byte for byte in name[:_MAX_COMM])


def _state(process: ProcessInfo) -> bytes:
    if process.outcome is not None:
        return b"Z"
    return b"T" if process.stopped else b"S"


def _joined(texts: Sequence[bytes]) -> bytes:
    return b"".join(text + b"\0" for text in texts)


def _escaped(text: bytes) -> bytes:
    """Octal escapes for what separates fields."""
    for byte in b"\\ \t\n":
        text = text.replace(bytes((byte,)), b"\\%03o" % byte)
    return text
