from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, Counted

from balenawasm.kernel.fd_table import FdEntry
from balenawasm.kernel.kernel import ARGUMENTS_MAX, Kernel
from balenawasm.kernel.limits import Limits
from balenawasm.kernel.outcome import Exited, Killed, Outcome, Signaled, Trapped
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
