"""A guest's linear memory, seen from the host: every access is checked, none copies unless it says
so.

The engine reserves 4 GiB of address space per guest, so the base address never moves while the
guest lives; only the size grows. The size known here is therefore a lower bound: it is asked for
again only when a check against it fails.

Rule for callers: check every pointer, also those that results go to, *before* acting. An access
that has succeeded once succeeds always, so a call that validated first never has to be undone or
repeated.

Memory is little-endian. Pointers and lengths come from the guest: non-negative integers below 2^32
(personality decodes them unsigned). Errors: EFAULT outside the memory, EINVAL for lists beyond the
limits.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, Final

from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.structs import IOVEC, U16, U32, U64

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

IOV_MAX: Final = 1024
"""Most buffers one call may name (as Linux); more are EINVAL."""
TRANSFER_MAX: Final = (1 << 31) - 1
"""Most bytes the buffers of one call may hold together; more are EINVAL."""

_EMPTY: Final = memoryview(bytearray())
_read_u32 = U32.unpack_from
_read_u64 = U64.unpack_from
_write_u16 = U16.pack_into
_write_u32 = U32.pack_into
_write_u64 = U64.pack_into
_read_iovec = IOVEC.unpack_from
_iterate_iovecs = IOVEC.iter_unpack
_struct_error = struct.error
_store_native_u32 = struct.Struct("I").pack_into
"""One store of the processor; the portable form writes byte by byte, which a running guest sees."""


ADDRESS_SPACE: Final = memoryview((ctypes.c_ubyte * ((1 << 48) - 1)).from_address(0)).cast("B")
"""All of this process's addresses; only what is known to be mapped may be touched. One view for
all: ctypes makes a type for each size of array, which only the garbage collector ends.
"""


def _host_memory(base: int, size: int) -> memoryview:
    """A writable view of host memory; the caller answers for its being mapped."""
    return ADDRESS_SPACE[base : base + size] if size else _EMPTY


class GuestMemory:
    """Checked access to one guest's memory. Used by the guest's own thread only, but for words that
    signals store.
    """

    __slots__ = ("_base", "_size_of", "view")

    def __init__(self) -> None:
        self.view: memoryview = _EMPTY
        """The memory as far as it is known; may be shorter than it really is, never longer."""
        self._base = 0
        self._size_of: Callable[[], int] | None = None

    @classmethod
    def over(cls, buffer: bytearray) -> GuestMemory:
        """A memory of fixed size over a buffer of the host: for tests and tools."""
        memory = cls()
        memory.view = memoryview(buffer)
        return memory

    def bind(self, base: int, size_of: Callable[[], int]) -> None:
        """Use the memory at host address `base`; `size_of` tells its current size in bytes."""
        self._base = base
        self._size_of = size_of
        self.view = _host_memory(base, size_of())

    def unbind(self) -> None:
        """Forget the memory, before the engine frees it: every later access is EFAULT."""
        self._size_of = None
        self.view = _EMPTY

    def _grown(self, end: int) -> bool:
        """Ask for the size again; tell whether `end` lies within it."""
        if self._size_of is None:
            return False
        size = self._size_of()
        if size < end:
            return False
        self.view = _host_memory(self._base, size)
        return True

    def check(self, pointer: int, length: int) -> None:
        """Make sure that `length` bytes at `pointer` exist: EFAULT."""
        end = pointer + length
        if end > len(self.view) and not self._grown(end):
            raise GuestError(Errno.EFAULT)

    def slice(self, pointer: int, length: int) -> memoryview:
        """A writable view of `length` bytes at `pointer`; do not keep it beyond the call."""
        end = pointer + length
        found = self.view[pointer:end]
        if len(found) != length:
            if not self._grown(end):
                raise GuestError(Errno.EFAULT)
            found = self.view[pointer:end]
        return found

    def read(self, pointer: int, length: int) -> bytes:
        """A copy of `length` bytes."""
        return bytes(self.slice(pointer, length))

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        """Copy `data` into the guest."""
        self.slice(pointer, len(data))[:] = data

    def unpack(self, layout: struct.Struct, pointer: int) -> tuple[Any, ...]:
        """Read one record."""
        self.check(pointer, layout.size)
        return layout.unpack_from(self.view, pointer)

    def pack(self, layout: struct.Struct, pointer: int, *values: int) -> None:
        """Write one record."""
        try:
            layout.pack_into(self.view, pointer, *values)
        except _struct_error:
            self.check(pointer, layout.size)
            layout.pack_into(self.view, pointer, *values)

    def read_u32(self, pointer: int) -> int:
        """Read a u32."""
        self.check(pointer, 4)
        value: int = _read_u32(self.view, pointer)[0]
        return value

    def read_u64(self, pointer: int) -> int:
        """Read a u64."""
        self.check(pointer, 8)
        value: int = _read_u64(self.view, pointer)[0]
        return value

    def write_u16(self, pointer: int, value: int) -> None:
        """Write a u16."""
        self.check(pointer, 2)
        _write_u16(self.view, pointer, value)

    def write_u32(self, pointer: int, value: int) -> None:
        """Write a u32."""
        try:
            _write_u32(self.view, pointer, value)
        except _struct_error:
            self.check(pointer, 4)
            _write_u32(self.view, pointer, value)

    def write_u64(self, pointer: int, value: int) -> None:
        """Write a u64."""
        try:
            _write_u64(self.view, pointer, value)
        except _struct_error:
            self.check(pointer, 8)
            _write_u64(self.view, pointer, value)

    def store_words(self, words: Iterable[tuple[int, int]]) -> None:
        """Store (address, value) u32 words; what lies outside is left out. The one access from
        other threads: they hold the process's lock, under which the memory is unbound.
        """
        view = self.view
        for address, value in words:
            if address + 4 <= len(view):
                _store_native_u32(view, address, value & 0xFFFF_FFFF)

    def has_word(self, address: int, value: int) -> bool:
        """Tell whether a word that was stored is still there; as for `store_words`."""
        view = self.view
        return address + 4 <= len(view) and _read_u32(view, address)[0] == value & 0xFFFF_FFFF

    def iovecs(self, pointer: int, count: int) -> list[memoryview]:
        """The buffers of an iovec or ciovec array, each checked.

        EINVAL for more than IOV_MAX buffers or more than TRANSFER_MAX bytes.
        """
        if count == 1:
            try:
                start, length = _read_iovec(self.view, pointer)
            except _struct_error:
                self.check(pointer, 8)
                start, length = _read_iovec(self.view, pointer)
            if length > TRANSFER_MAX:
                raise GuestError(Errno.EINVAL)
            found = self.view[start : start + length]
            return [found if len(found) == length else self.slice(start, length)]
        if count > IOV_MAX:
            raise GuestError(Errno.EINVAL)
        vectors = list(_iterate_iovecs(self.slice(pointer, count * 8)))
        if sum(length for _, length in vectors) > TRANSFER_MAX:
            raise GuestError(Errno.EINVAL)
        return [self.slice(start, length) for start, length in vectors]
