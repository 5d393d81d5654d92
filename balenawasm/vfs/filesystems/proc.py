"""/proc: what proc(5) shows of processes and the system, as far as programs look there.

Files are made when they are opened. Figures of the machine (memory, load, processors) are the
host's; those of processes are the guest kernel's. Files outside a process's directory never show
anything of the host's processes.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from balenawasm.vfs.filesystems import proc_process, proc_system
from balenawasm.vfs.filesystems.anonymous import new_device
from balenawasm.vfs.filesystems.fixed import FixedDirectory
from balenawasm.vfs.filesystems.open_files import FdDirectory, number_of
from balenawasm.vfs.filesystems.text import TextFile
from balenawasm.vfs.node import Caller, DirEntry, Node, OpenFlags, Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from balenawasm.vfs.description import Description
    from balenawasm.vfs.filesystems.proc_control import ControlFiles
    from balenawasm.vfs.filesystems.process_view import ProcessInfo, ProcessView

_NUMBERS_PER_PROCESS: Final = 1 << 20
"""Inode numbers: pid times this, plus the place in the process's directory; fds follow from 1024
on.
"""
_FIRST_FD: Final = 1024
_CONTROL_FILES: Final = frozenset((b"control", b"mkfifo", b"pidfd", b"pipe", b"spawn"))
"""What is there to do something, not to be read or listed; `proc_control` has it."""


class ProcFs:
    """The tree of /proc as `root`."""

    def __init__(self, processes: ProcessView) -> None:
        self._view = processes
        self._device = new_device()
        self._made = time.time_ns()
        self._last_number = 1
        self._control_files: ControlFiles | None = None
        fixed: dict[bytes, Node] = {
            b"self": Link(self._next(Filetype.SYMBOLIC_LINK), lambda caller: b"%d" % caller.pid),
            b"mounts": Link(self._next(Filetype.SYMBOLIC_LINK), lambda _: b"self/mounts"),
            b"sys": self._sysctl(),
        }
        for name, make in proc_system.FILES.items():
            fixed[name] = self._text(make)
        self.root: Node = RootDirectory(self._next(Filetype.DIRECTORY), fixed, self)

    def process_numbers(self) -> list[int]:
        """The pids that are shown."""
        return [process.pid for process in self._view.processes.all()]

    def process_directory(self, pid: int) -> Node:
        """The directory of a process: ENOENT."""
        self._process(pid)
        first = number = pid * _NUMBERS_PER_PROCESS
        children: dict[bytes, Node] = {}
        for name, text in proc_process.FILES.items():
            number += 1
            children[name] = self._process_text(pid, number, text)
        for name, target in proc_process.LINKS.items():
            number += 1
            children[name] = self._process_link(pid, number, target)
        children[b"fd"] = FdDirectory(
            self.stat(number + 1, Filetype.DIRECTORY),
            lambda _: self._process(pid).fds,
            lambda fd: self.stat(first + _FIRST_FD + fd, Filetype.SYMBOLIC_LINK),
        )
        return FixedDirectory(self.stat(first, Filetype.DIRECTORY), children)

    def control_file(self, name: bytes) -> Node:
        """One of _CONTROL_FILES."""
        if self._control_files is None:
            from balenawasm.vfs.filesystems.proc_control import (  # noqa: PLC0415 - seldom used
                ControlFiles,
            )

            self._control_files = ControlFiles(self._view.control(), self.stat)
        return self._control_files.node(name)

    def stat(self, number: int, filetype: Filetype) -> Stat:
        """Attributes of a file here."""
        mode = {Filetype.DIRECTORY: 0o555, Filetype.SYMBOLIC_LINK: 0o777}.get(filetype, 0o444)
        made = self._made
        return Stat(self._device, number, filetype, 1, 0, made, made, made, mode)

    def _process(self, pid: int) -> ProcessInfo:
        try:
            return self._view.processes.get(pid)
        except GuestError:
            raise GuestError(Errno.ENOENT) from None

    def _next(self, filetype: Filetype) -> Stat:
        self._last_number += 1
        return self.stat(self._last_number, filetype)

    def _text(self, make: Callable[[ProcessView], bytes]) -> Node:
        return TextFile(self._next(Filetype.REGULAR_FILE), lambda _: make(self._view))

    def _process_text(
        self, pid: int, number: int, text: Callable[[ProcessInfo, ProcessView], bytes]
    ) -> Node:
        return TextFile(
            self.stat(number, Filetype.REGULAR_FILE),
            lambda _: text(self._process(pid), self._view),
        )

    def _process_link(self, pid: int, number: int, target: Callable[[ProcessInfo], bytes]) -> Node:
        return Link(self.stat(number, Filetype.SYMBOLIC_LINK), lambda _: target(self._process(pid)))

    def _sysctl(self, prefix: bytes = b"") -> Node:
        """Everything below /proc/sys, or below a folder of it."""
        children: dict[bytes, Node] = {}
        for path, make in proc_system.SYSCTL.items():
            if not path.startswith(prefix):
                continue
            name, _, rest = path[len(prefix) :].partition(b"/")
            if not rest:
                children[name] = self._text(make)
            elif name not in children:
                children[name] = self._sysctl(prefix + name + b"/")
        return FixedDirectory(self._next(Filetype.DIRECTORY), children)


class RootDirectory(FixedDirectory):
    """/proc itself: fixed files, and a directory for each process."""

    def __init__(self, stat: Stat, children: Mapping[bytes, Node], fs: ProcFs) -> None:
        super().__init__(stat, children)
        self._fs = fs

    def lookup(self, caller: Caller, name: bytes) -> Node:
        """See Node.lookup."""
        pid = number_of(name)
        if pid is not None:
            return self._fs.process_directory(pid)
        if name in _CONTROL_FILES:
            return self._fs.control_file(name)
        return super().lookup(caller, name)

    def entries(self, caller: Caller) -> list[DirEntry]:
        """See Node.entries."""
        return super().entries(caller) + [
            DirEntry(b"%d" % pid, pid * _NUMBERS_PER_PROCESS, Filetype.DIRECTORY)
            for pid in self._fs.process_numbers()
        ]


class Link(Node):
    """A link whose target is found when it is read."""

    filetype = Filetype.SYMBOLIC_LINK

    def __init__(self, stat: Stat, target: Callable[[Caller], bytes]) -> None:
        self._stat = stat
        self._target = target

    def stat(self) -> Stat:
        """What it was made with."""
        return self._stat

    def open(self, caller: Caller, flags: OpenFlags) -> Description:
        """ELOOP: links are followed, not opened."""
        raise GuestError(Errno.ELOOP)

    def readlink(self, caller: Caller) -> bytes:
        """See Node.readlink."""
        return self._target(caller)
