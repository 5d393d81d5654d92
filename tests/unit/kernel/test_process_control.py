"""What guests do through the files in /proc: a real kernel whose guests are Python functions."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, Counted, in_thread

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.kernel import Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import Exited, Killed, Outcome
from balenawasm.vfs.filesystems.proc import ProcFs
from balenawasm.vfs.filesystems.proc_control import PENDING_MAX, REQUEST_MAX
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK, O_CREAT, Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description
    from balenawasm.vfs.node import Content

Guest = "Callable[[Process], Outcome]"


class Scripted:
    """An executor whose guests are functions, by the program's name."""

    def __init__(self) -> None:
        self.guests: dict[bytes, Callable[[Process], Outcome]] = {
            b"/bin/true": lambda process: Exited(0),
            b"/bin/false": lambda process: Exited(1),
            b"/bin/sleep": sleep_for_ever,
        }
        self.seen: list[tuple[bytes, tuple[bytes, ...], tuple[bytes, ...], bytes]] = []
        self.tables: list[dict[int, FdEntry]] = []

    def run(self, process: Process, content: Content) -> None:
        self.seen.append((process.executable, process.argv, process.environ, process.cwd))
        self.tables.append(dict(process.fds.entries()))
        try:
            outcome = self.guests[process.executable](process)
        except Killed:
            outcome = process.outcome_of_kill()
        process.finish(outcome)


def sleep_for_ever(process: Process) -> Outcome:
    process.wait((), None)
    raise AssertionError


class Caller:
    """A process of the kernel that this test's own thread speaks for."""

    def __init__(self, kernel: Kernel, process: Process) -> None:
        self.kernel = kernel
        self.process = process

    def open(self, path: bytes, *, write: bool = True, flags: int = 0) -> Description:
        space = self.kernel.namespace
        location, opened = space.open(
            self.process,
            space.root,
            path,
            oflags=0,
            flags=OpenFlags(write=write, fdflags=flags),
            follow=True,
        )
        self.process.fds.add(FdEntry(opened, location=location))
        return opened

    def fd_of(self, description: Description) -> int:
        found = self.process.fds.entries().items()
        return next(fd for fd, entry in found if entry.description is description)

    def close(self, description: Description) -> None:
        self.process.fds.remove(self.fd_of(description))

    def command(self, text: str) -> str:
        space = self.kernel.namespace
        return space.read_link(self.process, space.root, b"/proc/control/" + text.encode()).decode()

    def start(self, *fields: bytes) -> int:
        request = self.open(b"/proc/spawn")
        try:
            text = b"".join(field + b"\0" for field in fields)
            assert request.write(self.process, [memoryview(text)]) == len(text)
            return int(self.read(request))
        finally:
            self.close(request)

    def read(self, description: Description, size: int = 100) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: description.read(self.process, [memoryview(buffer)])])


@pytest.fixture
def executor() -> Scripted:
    return Scripted()


@pytest.fixture
def kernel(executor: Scripted) -> Iterator[Kernel]:
    root = Tmpfs(1 << 20).root
    folder = root.mkdir(b"bin")
    root.mkdir(b"srv")
    for name in (b"true", b"false", b"sleep"):
        folder.create(name).open(NOBODY, OpenFlags(write=True)).write(
            NOBODY, [memoryview(b"\0asm")]
        )
    kernel = Kernel(
        namespace=Namespace(root),
        executor=executor,
        hostname="box",
        limits=Limits(processes=20, open_files=64),
        log=lambda line: None,
    )
    kernel.namespace.mount(b"/proc", ProcFs(kernel).root)
    yield kernel
    kernel.kill_all(signal.SIGKILL)
    assert kernel.wait_all(LONG)


@pytest.fixture
def caller(kernel: Kernel) -> Caller:
    null = Counted()
    process = kernel.spawn([b"sleep"], [b"PATH=/bin", b"A=1"], b"/srv", {0: null, 1: null, 2: null})
    return Caller(kernel, process)


def refused(errno: Errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


def wait_for(caller: Caller, pid: int, options: str = "") -> tuple[int, int]:
    found, status = caller.command(f"wait {pid} {options}").split()
    return int(found), int(status)


# Starting.


def test_a_child_inherits_what_is_not_said_otherwise(caller: Caller, executor: Scripted) -> None:
    pid = caller.start(b"arg=true", b"arg=x y", b"arg=")
    assert wait_for(caller, pid) == (pid, 0)
    environ = (b"PATH=/bin", b"A=1", b"PWD=/srv")
    assert executor.seen[-1] == (b"/bin/true", (b"true", b"x y", b""), environ, b"/srv")
    assert sorted(executor.tables[-1]) == [0, 1, 2, 3]
    assert executor.tables[-1][3].prestat == b"/"


def test_a_child_gets_what_the_request_says(caller: Caller, executor: Scripted) -> None:
    one, two = Counted(), Counted()
    caller.process.fds.put(10, FdEntry(one, rights_base=2))
    caller.process.fds.put(11, FdEntry(two))
    pid = caller.start(
        b"arg=zero",
        b"program=/nowhere/true",
        b"program=true",
        b"cwd=../bin",
        b"env=",
        b"env=PATH=/bin",
        b"env=B=\xff=",
        b"fd=",
        b"fd=1:10",
        b"fd=3:11",
        b"fd=20:10",
        b"group=0",
    )
    assert wait_for(caller, pid) == (pid, 0)
    program, argv, environ, cwd = executor.seen[-1]
    assert (program, argv, cwd) == (b"/bin/true", (b"zero",), b"/srv/../bin")
    # 3 is the root directory, for which C libraries look there.
    wanted = (b"PATH=/bin", b"B=\xff=", b"BALENAWASM_FDS=20=20,3=21", b"PWD=/srv/../bin")
    assert sorted(environ) == sorted(wanted)
    table = executor.tables[-1]
    assert {fd: entry.description for fd, entry in table.items() if fd != 3} == {
        1: one,
        20: one,
        21: two,
    }
    assert table[1].rights_base == 2


@pytest.mark.parametrize(
    ("fields", "errno"),
    [
        ([b"arg=true", b"what=1"], Errno.EINVAL),
        ([b"arg"], Errno.EINVAL),
        ([b"cwd=/"], Errno.EINVAL),
        ([b"arg=true", b"fd=0"], Errno.EINVAL),
        ([b"arg=true", b"fd=0:-1"], Errno.EINVAL),
        ([b"arg=true", b"fd=0:99999999999999999999"], Errno.EINVAL),
        ([b"arg=true", b"fd=0:40"], Errno.EBADF),
        ([b"arg=true", b"fd=4000000000:0"], Errno.EBADF),
        ([b"arg=true", b"group=x"], Errno.EINVAL),
        ([b"arg=true", b"group=4000"], Errno.EPERM),
        ([b"arg=true", b"session=old"], Errno.EINVAL),
        ([b"arg=true", b"replace=1"], Errno.EINVAL),
        ([b"arg=true", b"sigdefault=0"], Errno.EINVAL),
        ([b"arg=true", b"sigmask=65"], Errno.EINVAL),
        ([b"arg=nothing"], Errno.ENOENT),
        ([b"arg="], Errno.ENOENT),
        ([b"arg=true", b"program=/bin"], Errno.EACCES),
        ([b"arg=true", b"cwd=/nowhere"], Errno.ENOENT),
        ([b"arg=true", b"cwd="], Errno.ENOENT),
        ([b"arg=true", b"cwd=/bin/true"], Errno.ENOTDIR),
        ([b"arg=true", b"program=../../../../etc/passwd"], Errno.ENOENT),
    ],
)
def test_bad_requests(caller: Caller, kernel: Kernel, fields: list[bytes], errno: Errno) -> None:
    before = len(caller.process.fds)
    with refused(errno):
        caller.start(*fields)
    assert len(kernel.processes) == 1
    assert len(caller.process.fds) == before


def test_one_open_file_starts_many(caller: Caller) -> None:
    request = caller.open(b"/proc/spawn")
    for _ in range(3):
        request.write(caller.process, [memoryview(b"arg=fa"), memoryview(b"lse\0")])
        pid = int(caller.read(request, 1) + caller.read(request))
        assert caller.read(request) == b""
        assert wait_for(caller, pid) == (pid, 1 << 8)
    request.write(caller.process, [memoryview(b"arg=true")])  # without its NUL
    with refused(Errno.EINVAL):
        caller.read(request)
    assert caller.read(request) == b""


def test_requests_are_bounded(caller: Caller) -> None:
    request = caller.open(b"/proc/spawn")
    piece = memoryview(bytes(REQUEST_MAX))
    assert request.write(caller.process, [piece]) == REQUEST_MAX
    with refused(Errno.E2BIG):
        request.write(caller.process, [memoryview(b"x")])
    others = [caller.open(b"/proc/spawn") for _ in range(PENDING_MAX // REQUEST_MAX)]
    for other in others[:-1]:
        other.write(caller.process, [piece])
    with refused(Errno.ENOMEM):
        others[-1].write(caller.process, [piece])
    caller.close(others[0])
    others[-1].write(caller.process, [piece])
    with refused(Errno.EINVAL):
        caller.read(request)


def test_a_guest_that_starts_without_end_meets_the_limit(caller: Caller) -> None:
    with refused(Errno.EAGAIN):
        for _ in range(100):
            caller.start(b"arg=true")


# Waiting and signals.


def test_waiting(caller: Caller) -> None:
    with refused(Errno.ECHILD):
        wait_for(caller, -1)
    pid = caller.start(b"arg=sleep")
    assert wait_for(caller, -1, "nohang") == (0, 0)
    waiter = in_thread(lambda: wait_for(caller, pid))
    assert caller.command(f"kill {pid} 0") == "ok"
    assert caller.command(f"kill {pid} {signal.SIGTERM}") == "ok"
    assert waiter.result(LONG) == (pid, signal.SIGTERM)
    with refused(Errno.ESRCH):
        caller.command(f"kill {pid} 0")
    with refused(Errno.ECHILD):
        wait_for(caller, pid)


def test_only_own_children_are_waited_for(caller: Caller, kernel: Kernel) -> None:
    pid = caller.start(b"arg=sleep")
    other = Caller(kernel, kernel.spawn([b"sleep"], [b"PATH=/bin"], b"/", {}))
    with refused(Errno.ECHILD):
        wait_for(other, pid)
    with refused(Errno.ECHILD):
        wait_for(other, -1)


def test_a_stopped_child(caller: Caller, kernel: Kernel) -> None:
    pid = caller.start(b"arg=sleep")
    caller.command(f"kill {pid} {signal.SIGSTOP}")
    assert wait_for(caller, pid, "untraced") == (pid, signal.SIGSTOP << 8 | 0x7F)
    caller.command(f"kill {pid} {signal.SIGCONT}")
    assert wait_for(caller, pid, "untraced,continued") == (pid, 0xFFFF)
    with refused(Errno.EINVAL):
        wait_for(caller, pid, "sometimes")


def test_processor_time(caller: Caller) -> None:
    caller.process.begin()
    before = int(caller.command("cputime"))
    assert before >= 0
    for _ in range(100_000):
        if int(caller.command("cputime")) > before:
            break
    assert before < int(caller.command("cputime")) <= time.thread_time_ns()
    with refused(Errno.EINVAL):
        caller.command("cputime 1")


def test_groups_and_sessions(caller: Caller) -> None:
    own = str(caller.process.pid)
    assert [caller.command(c) for c in ("getpid", "getppid", "getpgid 0")] == [own, "0", own]
    pid = caller.start(b"arg=sleep", b"group=0")
    other = caller.start(b"arg=sleep", b"group=%d" % pid)
    assert [caller.command(f"getpgid {p}") for p in (pid, other)] == [str(pid)] * 2
    with refused(Errno.EACCES):  # its program has started
        caller.command(f"setpgid {other} 0")
    assert caller.command(f"kill -{pid} 15") == "ok"
    assert {wait_for(caller, -pid)[0], wait_for(caller, -pid)[0]} == {pid, other}
    leader = caller.start(b"arg=sleep", b"session=new")
    assert caller.command(f"getsid {leader}") == str(leader)
    assert caller.command("getsid 0") == own


@pytest.mark.parametrize(
    "text",
    ["wait", "wait 1", "wait x nohang", "kill 1", "kill 1 -1", "kill --1 9", "dup2 1", "fd 1"],
)
def test_commands_with_other_arguments(caller: Caller, text: str) -> None:
    with refused(Errno.EINVAL):
        caller.command(text)


def test_there_is_no_such_command(caller: Caller) -> None:
    with refused(Errno.ENOENT):
        caller.command("reboot now")


def test_commands_run_when_they_are_read_only(caller: Caller, kernel: Kernel) -> None:
    space = kernel.namespace
    pid = caller.start(b"arg=sleep")
    name = b"/proc/control/kill %d 9" % pid
    assert (
        space.stat(caller.process, space.root, name, follow=False).filetype
        is Filetype.SYMBOLIC_LINK
    )
    with refused(Errno.ENOENT):
        space.stat(caller.process, space.root, name, follow=True)
    with refused(Errno.ENOENT):
        space.open(caller.process, space.root, name, oflags=0, flags=OpenFlags(), follow=True)
    assert wait_for(caller, pid, "nohang") == (0, 0)


def test_an_open_file_tells_the_end_of_a_process(caller: Caller) -> None:
    pid = caller.start(b"arg=sleep")
    watch = caller.open(b"/proc/pidfd/%d" % pid, write=False)
    poller = select.poll()
    poller.register(watch.host_fd, select.POLLIN)
    assert poller.poll(0) == []
    caller.command(f"kill {pid} 9")
    assert poller.poll(LONG * 1000)
    assert wait_for(caller, pid) == (pid, 9)
    assert poller.poll(0)
    with refused(Errno.EINVAL):
        caller.read(watch)
    for name in (b"%d" % pid, b"0", b"x", b"-1", b"99999999999999"):
        with refused(Errno.ENOENT):
            caller.open(b"/proc/pidfd/" + name)


# Fds.


def test_an_fd_is_named_by_asking_for_it(caller: Caller) -> None:
    assert caller.command("fd") == "none"
    caller.process.asked_fd = 2  # what fd_filestat_get does
    assert caller.command("fd") == "2"
    assert caller.command("fd") == "none"
    caller.process.asked_fd = 40
    assert caller.command("fd") == "none"


def test_dup2_and_close(caller: Caller) -> None:
    new = Counted()
    caller.process.fds.put(12, FdEntry(new, rights_base=2))
    assert caller.command("dup2 12 1") == "ok"
    entry = caller.process.fds.get(1)
    assert (entry.description, entry.rights_base) == (new, 2)
    assert caller.command("close 12") == "ok"
    assert new.closed == 0
    assert caller.command("dup2 1 1") == "ok"
    assert caller.command("close 1") == "ok"
    assert new.closed == 1
    for text in ("dup2 12 0", "close 12", "dup2 0 64"):
        with refused(Errno.EBADF):
            caller.command(text)


def test_pipes(caller: Caller, kernel: Kernel) -> None:
    reading = caller.open(b"/proc/pipe/new", write=False)
    name = b"/proc/pipe/%d/peer" % reading.stat().ino
    other = Caller(kernel, kernel.spawn([b"sleep"], [b"PATH=/bin"], b"/", {}))
    with refused(Errno.ENOENT):
        other.open(name)
    writing = caller.open(name, flags=NONBLOCK)
    with refused(Errno.ENOENT):
        caller.open(name)
    assert 0 < writing.write(caller.process, [memoryview(bytes(1 << 20))]) < 1 << 20
    with refused(Errno.EAGAIN):
        writing.write(caller.process, [memoryview(bytes(1 << 16))])
    with refused(Errno.EBADF):
        reading.write(caller.process, [memoryview(b"x")])
    caller.close(reading)
    with pytest.raises(BrokenPipeError):
        writing.write(caller.process, [memoryview(b"x")])


def test_a_pipe_whose_other_end_nobody_fetched_closes_whole(caller: Caller) -> None:
    before = len(os.listdir("/proc/self/fd"))
    caller.close(caller.open(b"/proc/pipe/new", write=False))
    assert len(os.listdir("/proc/self/fd")) == before
    for name in (b"0/peer", b"x", b"99999999999999/peer", b"1/reader"):
        with refused(Errno.ENOENT):
            caller.open(b"/proc/pipe/" + name)


def test_named_pipes(caller: Caller, kernel: Kernel) -> None:
    maker = caller.open(b"/proc/mkfifo")
    text = b"640 /srv/a pipe"
    assert maker.write(caller.process, [memoryview(text[:5]), memoryview(text[5:])]) == len(text)
    space = kernel.namespace
    stat = space.stat(NOBODY, space.root, b"/srv/a pipe", follow=False)
    assert (stat.filetype, stat.mode) == (Filetype.UNKNOWN, 0o640)
    for bad, errno in (
        (text, Errno.EEXIST),
        (b"640 relative", Errno.EINVAL),
        (b"999 /srv/x", Errno.EINVAL),
        (b"/srv/x", Errno.EINVAL),
        (b"640 /no/x", Errno.ENOENT),
        (b"640 /srv/x\0y", Errno.EINVAL),
        (b"640 /" + b"x" * 256, Errno.ENAMETOOLONG),
        (b"640 /proc/x", Errno.EROFS),
    ):
        with refused(errno):
            maker.write(caller.process, [memoryview(bad)])


def test_none_of_it_shows_in_a_listing(caller: Caller, kernel: Kernel) -> None:
    location = kernel.namespace.resolve(NOBODY, kernel.namespace.root, b"/proc", follow=True)
    names = {entry.name for entry in location.node.entries(caller.process)}
    assert not names & {b"control", b"mkfifo", b"pidfd", b"pipe", b"spawn"}
    for name in (b"control", b"pipe", b"pidfd"):
        below = kernel.namespace.resolve(
            caller.process, kernel.namespace.root, b"/proc/" + name, follow=True
        )
        assert below.node.entries(caller.process) == []
    with refused(Errno.EROFS):
        kernel.namespace.open(
            caller.process,
            kernel.namespace.root,
            b"/proc/file",
            oflags=O_CREAT,
            flags=OpenFlags(),
            follow=True,
        )


def test_a_kill_ends_waiting(caller: Caller, kernel: Kernel, executor: Scripted) -> None:
    waits = threading.Event()

    def guest(process: Process) -> Outcome:
        control = kernel.control()
        control.start(process, b"arg=sleep\0")
        waits.set()
        control.command(process, b"wait -1 ")
        raise AssertionError

    executor.guests[b"/bin/true"] = guest
    pid = caller.start(b"arg=true")
    assert waits.wait(LONG)
    caller.command(f"kill {pid} 9")
    assert wait_for(caller, pid) == (pid, 9)


def test_nothing_is_left_of_many_children(caller: Caller, kernel: Kernel) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for number in range(200):
        reading = caller.open(b"/proc/pipe/new", write=False)
        writing = caller.open(b"/proc/pipe/%d/peer" % reading.stat().ino)
        name = b"sleep" if number % 2 else b"true"
        given = b"fd=1:%d" % caller.fd_of(writing)
        pid = caller.start(b"arg=" + name, given, b"group=0")
        watch = caller.open(b"/proc/pidfd/%d" % pid, write=False)
        caller.close(writing)
        if number % 2:
            caller.command(f"kill -{pid} 9")
        assert caller.read(reading) == b""  # the child had the last writing end
        assert wait_for(caller, pid) == (pid, 9 if number % 2 else 0)
        caller.close(reading)
        caller.close(watch)
    assert len(kernel.processes) == 1
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # to be woken, to hear of children
