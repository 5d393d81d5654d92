"""Preview 1: arguments, environment, clocks, random numbers, and ending."""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import TYPE_CHECKING, Final

from balenawasm.kernel import clocks
from balenawasm.kernel.outcome import ExitRequest
from balenawasm.personality.syscall import preview1
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Clockid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.kernel.process import Process

_RANDOM_CHUNK: Final = 1 << 20
_REALTIME: Final = int(Clockid.REALTIME)
_MONOTONIC: Final = int(Clockid.MONOTONIC)
_read_realtime = time.time_ns
_read_monotonic = time.monotonic_ns

_SIGNALS: Final[tuple[int, ...]] = (
    0,
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGILL,
    signal.SIGTRAP,
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGKILL,
    signal.SIGUSR1,
    signal.SIGSEGV,
    signal.SIGUSR2,
    signal.SIGPIPE,
    signal.SIGALRM,
    signal.SIGTERM,
    signal.SIGCHLD,
    signal.SIGCONT,
    signal.SIGSTOP,
    signal.SIGTSTP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGURG,
    signal.SIGXCPU,
    signal.SIGXFSZ,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGWINCH,
    signal.SIGPOLL,
    signal.SIGPWR,
    signal.SIGSYS,
)
"""WASI's `signal` → the kernel's (Linux) number."""
_JOB_CONTROL: Final = (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""Whether these stop depends on the process's family."""


def _write_sizes(
    process: Process, strings: Sequence[bytes], count_result: int, size_result: int
) -> int:
    memory = process.memory
    memory.check(count_result, 4)
    memory.write_u32(size_result, sum(len(text) + 1 for text in strings))
    memory.write_u32(count_result, len(strings))
    return 0


def _write_strings(process: Process, strings: Sequence[bytes], pointers: int, buffer: int) -> int:
    """Write the strings, each with a NUL, at `buffer` and their addresses at `pointers`."""
    memory = process.memory
    target = memory.slice(pointers, 4 * len(strings))
    addresses: list[int] = []
    position = buffer
    for text in strings:
        addresses.append(position)
        position += len(text) + 1
    memory.write(buffer, b"".join(text + b"\0" for text in strings))
    struct.pack_into(f"<{len(addresses)}I", target, 0, *addresses)
    return 0


def args_sizes_get(process: Process, count_result: int, size_result: int) -> int:
    """Number of arguments, and bytes that args_get writes."""
    return _write_sizes(process, process.argv, count_result, size_result)


def args_get(process: Process, pointers: int, buffer: int) -> int:
    """The arguments."""
    return _write_strings(process, process.argv, pointers, buffer)


def environ_sizes_get(process: Process, count_result: int, size_result: int) -> int:
    """Number of environment variables, and bytes that environ_get writes."""
    return _write_sizes(process, process.environ, count_result, size_result)


def environ_get(process: Process, pointers: int, buffer: int) -> int:
    """The environment, `NAME=value` each."""
    return _write_strings(process, process.environ, pointers, buffer)


def clock_res_get(process: Process, clock: int, result: int) -> int:
    """The resolution of a clock, nanoseconds."""
    process.memory.write_u64(result, clocks.resolution(clock))
    return 0


def clock_time_get(process: Process, clock: int, _precision: int, result: int) -> int:
    """The time of a clock, nanoseconds."""
    if clock == _MONOTONIC:
        value = _read_monotonic()
    elif clock == _REALTIME:
        value = _read_realtime()
    else:
        value = clocks.now(process, clock)
    process.memory.write_u64(result, value)
    return 0


def random_get(process: Process, buffer: int, length: int) -> int:
    """Random bytes of cryptographic quality."""
    target = process.memory.slice(buffer, length)
    if length <= _RANDOM_CHUNK:
        target[:] = os.urandom(length)
        return 0
    for start in range(0, length, _RANDOM_CHUNK):
        process.check_killed()
        chunk = target[start : start + _RANDOM_CHUNK]
        chunk[:] = os.urandom(len(chunk))
    return 0


def proc_exit(_process: Process, code: int) -> int:
    """End the process; does not return."""
    raise ExitRequest(code)


def proc_raise(process: Process, number: int) -> int:
    """Send the process itself a signal."""
    if not 0 < number < len(_SIGNALS):
        raise GuestError(Errno.EINVAL)
    signo = _SIGNALS[number]
    if signo in _JOB_CONTROL:
        process.kernel.processes.signal(process.pid, signo)
    else:
        process.signal(signo)
    process.attend(interruptible=False)
    return 0


def sched_yield(_process: Process) -> int:
    """Let others run."""
    time.sleep(0)
    return 0


SYSCALLS: Final = (
    preview1(args_get),
    preview1(args_sizes_get),
    preview1(environ_get, fast=True),
    preview1(environ_sizes_get, fast=True),
    preview1(clock_res_get),
    preview1(
        clock_time_get,
        "All four clocks; the two processor-time clocks count the guest's thread from its start. "
        "`precision` is not needed.",
        fast=True,
    ),
    preview1(proc_exit, "A shell sees the low 8 bits."),
    preview1(
        proc_raise,
        "Preview 1 has no handlers of its own: a signal ends or stops the process or does nothing, "
        "as its default is, unless another door has arranged for it.",
        support="partial",
    ),
    preview1(sched_yield),
    preview1(random_get, "From the host's `getrandom`."),
)
