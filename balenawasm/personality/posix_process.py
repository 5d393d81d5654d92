"""The POSIX door: processes: how they begin, go on as others, end and are waited for.

vfork: after it every call is the child's, in the parent's memory and on its stack, until `execve`
succeeds or `exit` is called. Then the calls are the parent's again, and both answer the child's pid
to the C library, which jumps back to where vfork was called (docs/posix-door.md).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from balenawasm.kernel.kernel import ARGUMENTS_MAX
from balenawasm.kernel.outcome import ExitRequest
from balenawasm.personality import linux
from balenawasm.personality.posix_call import (
    posix,
    read_path,
    read_strings,
    signed,
)
from balenawasm.personality.posix_spawn import spawn
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from balenawasm.kernel.guest_memory import GuestMemory
    from balenawasm.kernel.process import Process

ABI_VERSION: Final = 1
RUSAGE: Final = struct.Struct("<18q")
"""User time, system time (seconds, microseconds each), then 14 counts of which the first, ru_maxrss
(KiB), is kept."""
RLIMIT: Final = struct.Struct("<QQ")
"""What holds now, and what it may be raised to."""
_NAME: Final = 65
UTSNAME: Final = struct.Struct(f"<{_NAME}s{_NAME}s{_NAME}s{_NAME}s{_NAME}s{_NAME}s")
_COMM_MAX: Final = 15
_RELEASE: Final = b"6.1.0-balenawasm"
_US_PER_SECOND: Final = 1_000_000
_NS_PER_US: Final = 1000


def attach(process: Process, version: int) -> int:
    """Begin: the program was made for this version of the door; answers the kernel's own.

    From now on it is a POSIX process: a broken pipe sends SIGPIPE, and the directories that preview
    1 programs find preopened are closed, so that fds begin at 3. ENOSYS: made for a newer door.
    """
    if version > ABI_VERSION:
        raise GuestError(Errno.ENOSYS)
    process.sigpipe = True
    for fd, entry in process.fds.entries().items():
        if entry.prestat is not None:
            process.fds.remove(fd)
    return ABI_VERSION


def vfork(process: Process) -> int:
    """Make a child that borrows this process's memory and thread; answers its pid."""
    return process.kernel.vfork(process).pid


def execve(process: Process, path: int, length: int, argv: int, envp: int) -> int:
    """Run another program in this process. Returns only in the parent of a vfork child: its pid."""
    name = read_path(process, path, length)
    arguments = read_strings(process.memory, argv, ARGUMENTS_MAX)
    variables = read_strings(process.memory, envp, ARGUMENTS_MAX)
    process.kernel.execute(process, name, arguments or [b""], variables)
    return process.pid


def exit_(process: Process, code: int) -> int:
    """End the process. Returns only in the parent of a vfork child: its pid."""
    if process.vfork_parent is None:
        raise ExitRequest(code)
    process.kernel.vfork_exit(process, code)
    return process.pid


def wait4(process: Process, pid: int, status: int, options: int, rusage: int) -> int:
    """Wait for a child: its pid, or 0 with WNOHANG when there is nothing to tell yet."""
    known = linux.WNOHANG | linux.WUNTRACED | linux.WCONTINUED
    if options & ~known:
        raise GuestError(Errno.EINVAL)
    memory = process.memory
    if status:
        memory.check(status, 4)
    if rusage:
        memory.check(rusage, RUSAGE.size)
    before = process.children_cpu_ns
    found = process.kernel.processes.wait(
        process,
        signed(pid),
        block=not options & linux.WNOHANG,
        untraced=options & linux.WUNTRACED != 0,
        continued=options & linux.WCONTINUED != 0,
    )
    if found is None:
        return 0
    if status:
        memory.write_u32(status, found[1].wait_status)
    if rusage:
        _write_rusage(memory, rusage, process.children_cpu_ns - before, 0)
    return found[0]


def getrusage(process: Process, who: int, result: int) -> int:
    """Processor time used by the process or by the children it has waited for."""
    if who in (linux.RUSAGE_SELF, linux.RUSAGE_THREAD):
        used, size = process.cpu_used_ns(), len(process.memory.view) >> 10
    elif who == linux.RUSAGE_CHILDREN:
        used, size = process.children_cpu_ns, 0
    else:
        raise GuestError(Errno.EINVAL)
    process.memory.check(result, RUSAGE.size)
    _write_rusage(process.memory, result, used, size)
    return 0


def _write_rusage(memory: GuestMemory, pointer: int, used_ns: int, size: int) -> None:
    user = divmod(used_ns // _NS_PER_US, _US_PER_SECOND)
    memory.pack(RUSAGE, pointer, *user, 0, 0, size, *[0] * 13)


def getrlimit(process: Process, resource: int, result: int) -> int:
    """How much of something the process may use."""
    if resource >= linux.RLIMITS:
        raise GuestError(Errno.EINVAL)
    limits = process.limits
    found = {
        linux.RLIMIT_NOFILE: limits.open_files,
        linux.RLIMIT_NPROC: limits.processes,
        linux.RLIMIT_AS: limits.memory_bytes or 1 << 32,
        linux.RLIMIT_DATA: limits.memory_bytes or 1 << 32,
        linux.RLIMIT_CORE: 0,
    }.get(resource, linux.RLIM_INFINITY)
    process.memory.pack(RLIMIT, result, found, found)
    return 0


def getpid(process: Process) -> int:
    """The process's number."""
    return process.pid


def getppid(process: Process) -> int:
    """The parent's number."""
    return process.ppid


def getpgid(process: Process, pid: int) -> int:
    """The group of a process; 0: the caller's own."""
    return process.kernel.processes.getpgid(process, _pid(pid))


def setpgid(process: Process, pid: int, pgid: int) -> int:
    """Move a process to a group; 0: the caller, and the group of that number."""
    process.kernel.processes.setpgid(process, _pid(pid), _pid(pgid))
    return 0


def getsid(process: Process, pid: int) -> int:
    """The session of a process; 0: the caller's own."""
    return process.kernel.processes.getsid(process, _pid(pid))


def setsid(process: Process) -> int:
    """Begin a session; answers its number. EPERM for the leader of a group."""
    return process.kernel.processes.setsid(process)


def _pid(value: int) -> int:
    if value >> 31:
        raise GuestError(Errno.EINVAL)
    return value


def kill(process: Process, pid: int, signo: int) -> int:
    """Send a signal to a process, a group or all."""
    process.kernel.processes.kill(process, signed(pid), signo)
    return 0


def setcomm(process: Process, name: int, length: int) -> int:
    """Set the short name that /proc shows of the process."""
    process.comm = process.memory.read(name, min(length, _COMM_MAX)).rpartition(b"/")[2]
    return 0


def getcomm(process: Process, buffer: int) -> int:
    """Ask for the short name that /proc shows: up to 15 bytes and a NUL."""
    name = (process.comm or process.executable).rpartition(b"/")[2][:_COMM_MAX]
    process.memory.write(buffer, name.ljust(_COMM_MAX + 1, b"\0"))
    return 0


def uname(process: Process, result: int) -> int:
    """The names of the system."""
    hostname = process.hostname.encode()[: _NAME - 1]
    names = (b"Linux", hostname, _RELEASE, b"#1", b"wasm32", b"(none)")
    process.memory.write(result, UTSNAME.pack(*names))
    return 0


SYSCALLS: Final = (
    posix(attach, "i", "The first call of every program."),
    posix(
        vfork,
        "",
        "EAGAIN at the limit of processes. A trap or `proc_exit` in the child ends both.",
    ),
    posix(
        execve,
        "iiii",
        "`#!` scripts too. Arguments and environment together have at most 2 MiB: E2BIG.",
    ),
    posix(exit_, "i", "Named `exit`. The low 8 bits count."),
    posix(spawn, "iiiiiii", "As vfork, the file actions and execve in one call."),
    posix(wait4, "iiii", "WNOHANG, WUNTRACED, WCONTINUED."),
    posix(getrusage, "ii", "All time is user time."),
    posix(getrlimit, "ii", "Limits are the container's; there is no setrlimit."),
    posix(getpid, ""),
    posix(getppid, ""),
    posix(getpgid, "i"),
    posix(setpgid, "ii"),
    posix(getsid, "i"),
    posix(setsid, ""),
    posix(kill, "ii", "Every process of a container may signal every other."),
    posix(uname, "i"),
    posix(getcomm, "i", "Always writes 16 bytes."),
    posix(setcomm, "ii", "What prctl's PR_SET_NAME does: at most 15 bytes count."),
)
