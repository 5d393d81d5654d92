from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, Counted

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.kernel import ARGUMENTS_MAX, Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import (
    ExecRequest,
    Exited,
    ExitRequest,
    Killed,
    Outcome,
    Signaled,
    Trapped,
)
from balenawasm.kernel.session import current
from balenawasm.kernel.signals import IGNORE, caught
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.mounts import NOBODY
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from balenawasm.kernel.process import Process
    from balenawasm.vfs.node import Content


class Scripted:
    """An executor whose guests are Python functions."""

    def __init__(self, guest: Callable[[Process], Outcome]) -> None:
        self.guest = guest
        self.threads: list[int] = []

    def run(self, process: Process, content: Content) -> None:
        assert bytes(content.data) == b"\0asm"
        self.threads.append(threading.get_ident())
        try:
            outcome = self.guest(process)
        except Killed:
            outcome = process.outcome_of_kill()
        process.finish(outcome)


class Kernels:
    def __init__(self) -> None:
        self.lines: list[str] = []
        root = Tmpfs(1 << 20).root
        program = root.mkdir(b"bin").create(b"true")
        program.open(NOBODY, OpenFlags(write=True)).write(NOBODY, [memoryview(b"\0asm")])
        self.namespace = Namespace(root)

    def new(self, guest: Callable[[Process], Outcome], **limits: int) -> Kernel:
        self.executor = Scripted(guest)
        return Kernel(
            namespace=self.namespace,
            executor=self.executor,
            hostname="box",
            limits=Limits(**limits),
            log=self.lines.append,
        )


@pytest.fixture
def kernels() -> Kernels:
    return Kernels()


def spawn(kernel: Kernel, **more: object) -> Process:
    arguments: dict[str, object] = {"argv": [b"true"], "environ": [], "cwd": b"/", "fds": {}}
    return kernel.spawn(**{**arguments, **more})  # type: ignore[arg-type]


def sleep_for_ever(process: Process) -> Outcome:
    process.wait((), None)
    raise AssertionError


def test_a_program_runs_and_ends(kernels: Kernels) -> None:
    kernel = kernels.new(lambda process: Exited(len(process.argv)))
    process = spawn(kernel, argv=[b"true", b"x"])
    assert process.executable == b"/bin/true"
    assert process.hostname == "box"
    assert process.wait_exit(LONG) == Exited(2)
    assert kernels.lines == []
    assert kernel.wait_all(LONG)
    assert len(kernel.processes) == 0


def test_it_finds_the_root_at_fd_3(kernels: Kernels) -> None:
    found: list[tuple[int, bytes | None, int]] = []

    def guest(process: Process) -> Outcome:
        for fd, entry in process.fds.entries().items():
            found.append((fd, entry.prestat, entry.rights_inheriting))
        return Exited(0)

    kernel = kernels.new(guest)
    spawn(kernel).wait_exit(LONG)
    spawn(kernel, preopens=[b"/", b"/bin"]).wait_exit(LONG)
    spawn(kernel, preopens=[]).wait_exit(LONG)
    everything = w.RIGHTS_ALL
    assert found == [(3, b"/", everything), (3, b"/", everything), (4, b"/bin", everything)]


def test_it_holds_what_it_inherited_until_it_ends(kernels: Kernels) -> None:
    description = Counted()
    description.retain()

    def guest(process: Process) -> Outcome:
        assert process.fds.get(0).description is description
        assert process.fds.get(7).rights_base == w.FD_READ
        process.wait((), None)
        raise AssertionError

    kernel = kernels.new(guest)
    process = spawn(kernel, fds={0: description, 7: FdEntry(description, rights_base=w.FD_READ)})
    description.release()
    assert description.closed == 0
    kernel.kill_all(signal.SIGTERM)
    assert process.wait_exit(LONG) == Signaled(signal.SIGTERM)
    assert description.closed == 1


@pytest.mark.parametrize(
    ("change", "errno"),
    [
        ({"argv": []}, Errno.EINVAL),
        ({"argv": [b"a\0b"]}, Errno.EINVAL),
        ({"environ": [b"A=\0"]}, Errno.EINVAL),
        ({"argv": [b"true", b"x" * ARGUMENTS_MAX]}, Errno.E2BIG),
        ({"argv": [b"nothing"]}, Errno.ENOENT),
        ({"cwd": b"/nowhere"}, Errno.ENOENT),
        ({"cwd": b"/bin/true"}, Errno.ENOTDIR),
        ({"path": b"/bin/nothing"}, Errno.ENOENT),
        ({"path": b"true"}, Errno.ENOENT),
        ({"pgid": 4711}, Errno.EPERM),
        ({"pgid": -1}, Errno.EINVAL),
        ({"preopens": [b"/nowhere"]}, Errno.ENOENT),
        ({"preopens": [b"/bin/true"]}, Errno.ENOTDIR),
    ],
)
def test_what_cannot_start_leaves_nothing(
    kernels: Kernels, change: dict[str, object], errno: Errno
) -> None:
    description = Counted()
    description.retain()
    kernel = kernels.new(lambda process: Exited(0), processes=1)
    with pytest.raises(GuestError) as caught:
        spawn(kernel, fds={1: description}, **change)
    assert caught.value.errno == errno
    assert len(kernel.processes) == 0
    description.release()
    assert description.closed == 1
    assert spawn(kernel).wait_exit(LONG) == Exited(0), "the place is free again"


def test_too_many_processes(kernels: Kernels) -> None:
    kernel = kernels.new(sleep_for_ever, processes=2)
    processes = [spawn(kernel), spawn(kernel)]
    with pytest.raises(GuestError) as caught:
        spawn(kernel)
    assert caught.value.errno == Errno.EAGAIN
    assert not kernel.wait_all(0)
    kernel.kill_all()
    assert kernel.wait_all(LONG)
    assert {process.outcome for process in processes} == {Signaled(signal.SIGKILL)}


def test_a_bug_ends_one_guest_only(kernels: Kernels) -> None:
    def guest(process: Process) -> Outcome:
        if process.pid == 1:
            raise KeyError("bug")
        return Exited(0)

    kernel = kernels.new(guest)
    broken = spawn(kernel).wait_exit(LONG)
    assert isinstance(broken, Trapped)
    assert "KeyError" in broken.message
    assert "KeyError: 'bug'" in kernels.lines[0]
    assert spawn(kernel).wait_exit(LONG) == Exited(0)


def test_an_executor_without_an_outcome(kernels: Kernels) -> None:
    kernel = kernels.new(lambda process: Exited(0))
    kernels.executor.run = lambda process, content: None  # type: ignore[method-assign]
    assert isinstance(spawn(kernel).wait_exit(LONG), Trapped)


def test_threads_are_used_again(kernels: Kernels) -> None:
    kernel = kernels.new(lambda process: Exited(0))
    for _ in range(50):
        assert spawn(kernel).wait_exit(LONG) == Exited(0)
    assert len(set(kernels.executor.threads)) < 10


def test_a_child_waits_for_its_parent(kernels: Kernels) -> None:
    seen: list[object] = []

    def guest(process: Process) -> Outcome:
        if process.parent is not None:
            return Exited(5)
        child = spawn(kernel, parent=process)
        seen.append(kernel.processes.wait(process, child.pid))
        return Exited(0)

    kernel = kernels.new(guest)
    assert spawn(kernel).wait_exit(LONG) == Exited(0)
    assert seen == [(2, Exited(5))]


def test_where_a_child_is_placed(kernels: Kernels) -> None:
    seen: list[tuple[int, int, int]] = []

    def guest(process: Process) -> Outcome:
        if process.parent is None:
            joined = spawn(kernel, parent=process, pgid=0)
            spawn(kernel, parent=process, pgid=joined.pid)
            spawn(kernel, parent=process, new_session=True)
            spawn(kernel, parent=process)
            for _ in range(4):
                kernel.processes.wait(process)
        else:
            seen.append((process.pid, process.pgid, process.sid))
        return Exited(0)

    kernel = kernels.new(guest)
    assert spawn(kernel).wait_exit(LONG) == Exited(0)
    assert sorted(seen) == [(2, 2, 1), (3, 2, 1), (4, 4, 4), (5, 1, 1)]


def test_what_a_child_inherits_of_signals(kernels: Kernels) -> None:
    seen: list[tuple[int, int, int]] = []

    def guest(process: Process) -> Outcome:
        signals = process.signals
        if process.parent is None:
            signals.set_action(signal.SIGTERM, IGNORE)
            signals.set_action(signal.SIGUSR1, caught())
            signals.set_mask(1)
            for more in ({}, {"reset_signals": 1 << 14, "mask": 2}):
                spawn(kernel, parent=process, **more)
                kernel.processes.wait(process)
        else:
            seen.append((signals.ignored, signals.handled, signals.mask))
        return Exited(0)

    kernel = kernels.new(guest)
    spawn(kernel).wait_exit(LONG)
    assert seen == [(1 << 14, 0, 1), (0, 0, 2)]


def test_a_script_is_run_by_its_interpreter(kernels: Kernels) -> None:
    file = kernels.namespace.root.node.create(b"script")
    file.open(NOBODY, OpenFlags(write=True)).write(NOBODY, [memoryview(b"#!/bin/true -x\n")])
    seen: list[tuple[bytes, ...]] = []

    def guest(process: Process) -> Outcome:
        seen.append((process.executable, *process.argv))
        return Exited(0)

    kernel = kernels.new(guest)
    spawn(kernel, argv=[b"/script", b"a"]).wait_exit(LONG)
    spawn(kernel, argv=[b"zero", b"a"], path=b"/script").wait_exit(LONG)
    assert seen == [(b"/bin/true", b"/bin/true", b"-x", b"/script", b"a")] * 2


def test_a_killed_parent_starts_nothing(kernels: Kernels) -> None:
    refusals: list[Errno] = []

    def guest(process: Process) -> Outcome:
        process.signal(signal.SIGKILL)
        try:
            spawn(kernel, parent=process)
        except GuestError as error:
            refusals.append(error.errno)
        return process.outcome_of_kill()

    kernel = kernels.new(guest)
    spawn(kernel).wait_exit(LONG)
    assert refusals == [Errno.EAGAIN]
    assert len(kernel.processes) == 0


def test_nothing_starts_in_an_ending_kernel(kernels: Kernels) -> None:
    kernel = kernels.new(sleep_for_ever)
    process = spawn(kernel)
    kernel.end_all()
    assert process.wait_exit(LONG) == Signaled(signal.SIGKILL)
    with pytest.raises(GuestError) as caught:
        spawn(kernel)
    assert caught.value.errno == Errno.EAGAIN


def test_no_more_threads_are_eagain(kernels: Kernels) -> None:
    def refuse(job: object) -> None:
        raise RuntimeError("can't start new thread")

    kernel = kernels.new(lambda process: Exited(0))
    submit = kernel._workers.submit
    kernel._workers.submit = refuse  # type: ignore[method-assign]
    with pytest.raises(GuestError) as caught:
        spawn(kernel)
    assert caught.value.errno == Errno.EAGAIN
    assert len(kernel.processes) == 0
    kernel._workers.submit = submit  # type: ignore[method-assign]
    assert spawn(kernel).wait_exit(LONG) == Exited(0)


def test_exec_keeps_fds_but_those_that_close(kernels: Kernels) -> None:
    kept, closed = Counted(), Counted()
    seen: list[object] = []

    def guest(process: Process) -> Outcome:
        process.fds.put(7, FdEntry(kept))
        process.fds.put(8, FdEntry(closed, cloexec=True))
        process.fds.put(9, process.fds.get(8).shared())
        process.fds.remove(3)
        with pytest.raises(GuestError):
            kernel.execute(process, b"/nothing", [b"x"], [])
        assert 8 in process.fds
        with pytest.raises(ExecRequest) as request:
            kernel.execute(process, b"true", [b"x", b"y"], [b"A=1"], b"/bin")
        seen.extend((list(process.fds), process.fds.get(3).prestat, process.argv, process.cwd))
        return Exited(len(request.value.content.data))

    kernel = kernels.new(guest)
    assert spawn(kernel).wait_exit(LONG) == Exited(4)
    assert seen == [[3, 7, 9], b"/", (b"x", b"y"), b"/bin"]
    assert (kept.closed, closed.closed) == (1, 1)


def test_vfork_and_a_failed_vfork(kernels: Kernels) -> None:
    def guest(process: Process) -> Outcome:
        process.fds.put(8, FdEntry(Counted(), cloexec=True))
        child = kernel.vfork(process)
        assert current.process is child
        assert child.memory is process.memory
        assert child.fds.get(8).cloexec
        with pytest.raises(GuestError) as refused:
            kernel.vfork(child)
        assert refused.value.errno == Errno.EAGAIN
        assert current.process is child
        kernel.vfork_exit(child, 3)
        assert current.process is process
        assert child.memory is not process.memory
        assert kernel.processes.wait(process) == (child.pid, Exited(3))
        with pytest.raises(ExitRequest):
            kernel.vfork_exit(process, 1)
        return Exited(0)

    kernel = kernels.new(guest, processes=2)
    assert spawn(kernel).wait_exit(LONG) == Exited(0)
    assert kernels.lines == []
