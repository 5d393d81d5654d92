"""The C accelerator (accelerator.c), where it has been built: what it is told about processes, fds
and files.

It is optional: without a compiler at install time there is none, and every call goes to its Python
handler, which costs only speed. The C part handles the plain cases of some calls and
hands the rest to the handler; see there for the rules that keep both coherent.

The three records here are the C part's whole view. They are ctypes structures whose addresses C
keeps: a process's record lives until its thread has left it, a file's as long as its description.
Truth stays in Python, with one exception: the offset of an image's file while one fd alone stands
for it (`FastFile.offset`).
"""

from __future__ import annotations

import ctypes
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from balenawasm.engine.library import api
from balenawasm.kernel.session import current
from balenawasm.wasi.errno import FROM_HOST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from balenawasm.engine.library import Memory
    from balenawasm.kernel.process import Process
    from balenawasm.vfs.description import Description

_ABI: Final = 3
_FIRST_SLOTS: Final = 16
_SLOTS_MAX: Final = 1024
"""Fds above are never accelerated."""
_SLOW: Final = 1
_ERRNOS: Final = 256


def address_of(function: object) -> int:
    """The address of a C function or callback."""
    address: int = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type, assignment]
    return address


_SIZE_OF: Final = address_of(api.wasmtime_memory_data_size)


class FastFile(ctypes.Structure):
    """`struct file`: an open file."""

    _fields_ = (  # type: ignore[mutable-override]
        ("kind", ctypes.c_int32),
        ("fd", ctypes.c_int32),
        ("flags", ctypes.c_uint32),
        ("filetype", ctypes.c_uint8),
        ("readable", ctypes.c_uint8),
        ("writable", ctypes.c_uint8),
        ("spare", ctypes.c_uint8),
        ("data", ctypes.c_size_t),
        ("size", ctypes.c_uint64),
        ("offset", ctypes.c_uint64),
    )
    kind: int
    fd: int
    flags: int
    filetype: int
    readable: int
    writable: int
    data: int
    size: int
    offset: int


class _Slot(ctypes.Structure):
    """`struct slot`: an fd."""

    _fields_ = (  # type: ignore[mutable-override]
        ("file", ctypes.c_size_t),
        ("rights", ctypes.c_uint64),
        ("inheriting", ctypes.c_uint64),
        ("misses", ctypes.c_uint32),
        ("spare", ctypes.c_uint32),
    )
    file: int
    rights: int
    inheriting: int
    misses: int


class _FastProcess(ctypes.Structure):
    """`struct process`."""

    _fields_ = (  # type: ignore[mutable-override]
        ("attention", ctypes.c_uint32),
        ("lent", ctypes.c_uint32),
        ("wake_fd", ctypes.c_int32),
        ("slot_count", ctypes.c_uint32),
        ("slots", ctypes.c_size_t),
        ("base", ctypes.c_size_t),
        ("size", ctypes.c_uint64),
        ("size_of", ctypes.c_size_t),
        ("context", ctypes.c_size_t),
        ("memory", ctypes.c_size_t),
        ("environment", ctypes.c_char_p),
        ("environment_size", ctypes.c_uint32),
        ("environment_count", ctypes.c_uint32),
    )
    attention: int
    lent: int
    wake_fd: int
    slot_count: int
    slots: int
    base: int
    size: int
    size_of: int
    context: int
    memory: int
    environment: bytes
    environment_size: int
    environment_count: int


class FastProcess(_FastProcess):
    """A process as the C part sees it. Implements `kernel.fast_view.FastView`."""

    def __init__(self) -> None:
        super().__init__(wake_fd=-1)
        self._array: Any = ()
        self._kept: Any = None

    def bind(self, base: int, context: int, memory: Memory, environ: Sequence[bytes]) -> None:
        """A program begins, with this memory and environment; `memory` is kept."""
        # The structure keeps the bytes alive that its pointer is to.
        self.environment = b"".join(text + b"\0" for text in environ)
        self.environment_size = sum(map(len, environ)) + len(environ)
        self.environment_count = len(environ)
        self._kept = memory
        self.size = 0
        self.base = base
        self.context = context
        self.memory = ctypes.addressof(memory)
        self.size_of = _SIZE_OF

    def unbind(self) -> None:
        """Use no memory from now on."""
        self.size = self.size_of = self.base = 0

    def forget(self, fd: int) -> None:
        """See FastView.forget."""
        if fd < self.slot_count:
            slot = self._array[fd]
            slot.file = slot.misses = 0

    def learn(self, fd: int, process: Process) -> None:
        """Fill the slot of an fd. In the process's own thread."""
        entry = process.fds.find(fd)
        if entry is None or fd >= _SLOTS_MAX:
            return
        if fd >= self.slot_count:
            self._grow(fd)
        slot = self._array[fd]
        slot.rights, slot.inheriting = entry.rights_base, entry.rights_inheriting
        slot.file = ctypes.addressof(_file_of(entry.description))

    def _grow(self, fd: int) -> None:
        count = max(_FIRST_SLOTS, 1 << fd.bit_length())
        array = _slots_type(count)()
        ctypes.memmove(array, self._array or array, self.slot_count * ctypes.sizeof(_Slot))
        self._array = array
        self.slots = ctypes.addressof(array)
        self.slot_count = count


@cache
def _slots_type(count: int) -> type[ctypes.Array[_Slot]]:
    # ctypes would make one again for each process, a reference cycle each time. Counts are few:
    # powers of two.
    return _Slot * count


def _file_of(description: Description) -> FastFile:
    """The description's record, made or renewed."""
    fast = description.fast
    if not isinstance(fast, FastFile):
        fast = FastFile()
    form = description.fast_form()
    if form is None:
        fast.kind = _SLOW
    else:
        fast.fd = form.fd
        fast.flags = description.flags
        fast.filetype = description.filetype
        fast.readable, fast.writable = form.readable, form.writable
        if form.data is not None:
            fast.data, fast.size = _address_of(form.data), len(form.data)
            fast.offset = form.offset
        fast.kind = form.kind
    description.fast = fast
    return fast


class _Buffer(ctypes.Structure):
    """`Py_buffer`."""

    _fields_ = (  # type: ignore[mutable-override]
        ("buf", ctypes.c_size_t),
        ("obj", ctypes.py_object),
        ("len", ctypes.c_ssize_t),
        ("rest", ctypes.c_byte * 64),
    )


def _address_of(view: memoryview) -> int:
    """Where the bytes of a read-only view are; valid as long as the view is held by somebody."""
    buffer = _Buffer()
    ctypes.pythonapi.PyObject_GetBuffer(ctypes.py_object(view), ctypes.byref(buffer), 0)
    address: int = buffer.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(buffer))
    return address


def _learn(fd: int) -> None:
    """Called from C. No exception may leave it: without a filled slot the handler is asked."""
    try:
        process = current.process
        fast = process.fds.fast
        if isinstance(fast, FastProcess):
            fast.learn(fd, process)
    except BaseException:  # noqa: S110 - see above
        pass


class Accelerator:
    """The loaded library."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        errnos = (ctypes.c_uint16 * _ERRNOS)()
        for number, errno in FROM_HOST.items():
            if number < _ERRNOS:
                errnos[number] = errno
        library.accelerator_set_up(_learner, errnos)
        self._enter = library.accelerator_enter
        self._enter.argtypes = (ctypes.c_size_t,)
        self._enter.restype = None

    def function(self, name: str) -> int:
        """The address of the C function for an accelerated system call."""
        return address_of(getattr(self._library, f"accelerated_{name}"))

    def enter(self, process: Process) -> FastProcess:
        """The calling thread runs this process from now on; its memory is not known yet."""
        fast = FastProcess()
        with process.lock:
            process.fds.fast = fast
            process.waiting.show_to(fast, attention=process.attention)
        self._enter(ctypes.addressof(fast))
        return fast

    def leave(self, process: Process) -> None:
        """The calling thread does not run it any more."""
        self._enter(0)
        with process.lock:
            process.fds.fast = None
            process.waiting.show_to(None, attention=False)


_learner: Final = ctypes.CFUNCTYPE(None, ctypes.c_uint32)(_learn)


LIBRARY: Final = Path(__file__).with_name(f"_accelerator{EXTENSION_SUFFIXES[0]}")
"""Where setuptools puts it (pyproject.toml). It is no module: nothing in it knows Python."""


def load(path: Path = LIBRARY) -> Accelerator | None:
    """The accelerator, or None where it has not been built or is another version's."""
    try:
        library = ctypes.PyDLL(str(path))
        library.accelerator_abi.restype = ctypes.c_uint32
        fits = library.accelerator_abi() == _ABI
    except (OSError, AttributeError):
        return None
    return Accelerator(library) if fits else None
