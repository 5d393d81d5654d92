from __future__ import annotations

import ctypes
import struct

import pytest

from balenawasm.kernel.guest_memory import IOV_MAX, TRANSFER_MAX, GuestMemory
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.structs import FDSTAT

PAGE = 65536


class Growing:
    """Memory of the host that a guest has a growing part of."""

    def __init__(self, pages: int = 3) -> None:
        self.buffer = ctypes.create_string_buffer(pages * PAGE)
        self.size = PAGE
        self.asked = 0

    def size_of(self) -> int:
        self.asked += 1
        return self.size

    def bound(self) -> GuestMemory:
        memory = GuestMemory()
        memory.bind(ctypes.addressof(self.buffer), self.size_of)
        return memory


@pytest.mark.parametrize(
    ("pointer", "length"),
    [(0, PAGE + 1), (PAGE, 1), (PAGE - 1, 2), (0xFFFF_FFFF, 1), (0xFFFF_FFFF, 0xFFFF_FFFF)],
)
def test_outside_is_efault(pointer: int, length: int) -> None:
    memory = GuestMemory.over(bytearray(PAGE))
    with pytest.raises(GuestError) as caught:
        memory.check(pointer, length)
    assert caught.value.errno == Errno.EFAULT
    with pytest.raises(GuestError):
        memory.slice(pointer, length)
    with pytest.raises(GuestError):
        memory.read(pointer, length)


@pytest.mark.parametrize("pointer", [PAGE - 1, PAGE, 0xFFFF_FFFF])
def test_numbers_and_records_outside_are_efault(pointer: int) -> None:
    memory = GuestMemory.over(bytearray(PAGE))
    for attempt in (
        lambda: memory.read_u32(pointer),
        lambda: memory.read_u64(pointer),
        lambda: memory.write_u16(pointer, 1),
        lambda: memory.write_u32(pointer, 1),
        lambda: memory.write_u64(pointer, 1),
        lambda: memory.pack(FDSTAT, pointer, 1, 2, 3, 4),
        lambda: memory.unpack(FDSTAT, pointer),
        lambda: memory.iovecs(pointer, 1),
        lambda: memory.iovecs(pointer, 2),
    ):
        with pytest.raises(GuestError) as caught:
            attempt()
        assert caught.value.errno == Errno.EFAULT


def test_end_of_memory_is_inside() -> None:
    memory = GuestMemory.over(bytearray(PAGE))
    memory.write_u32(PAGE - 4, 0x01020304)
    assert memory.read(PAGE - 4, 4) == b"\4\3\2\1"
    memory.check(PAGE, 0)
    assert len(memory.slice(PAGE, 0)) == 0


def test_size_is_asked_again_only_on_a_miss() -> None:
    host = Growing()
    memory = host.bound()
    memory.write_u64(PAGE - 8, 7)
    assert host.asked == 1
    host.size = 2 * PAGE
    memory.write_u64(PAGE, 9)
    assert host.asked == 2
    assert memory.read_u64(PAGE) == 9
    assert memory.read_u64(PAGE - 8) == 7
    assert host.asked == 2
    with pytest.raises(GuestError):
        memory.read_u64(2 * PAGE)


@pytest.mark.parametrize("count", [1, 2])
def test_buffers_may_lie_in_grown_memory(count: int) -> None:
    host = Growing()
    memory = host.bound()
    host.size = 3 * PAGE
    for index in range(count):
        memory.write(PAGE + 8 * index, struct.pack("<II", 2 * PAGE + index * 4, 4))
    buffers = memory.iovecs(PAGE, count)
    assert [len(buffer) for buffer in buffers] == [4] * count
    buffers[0][:] = b"abcd"
    assert host.buffer.raw[2 * PAGE : 2 * PAGE + 4] == b"abcd"


def test_unbound_memory_has_no_bytes() -> None:
    memory = Growing().bound()
    memory.write_u32(0, 1)
    memory.unbind()
    with pytest.raises(GuestError):
        memory.write_u32(0, 1)


def test_growth_during_a_call_reaches_views_taken_before() -> None:
    host = Growing()
    memory = host.bound()
    early = memory.slice(0, 4)
    host.size = 2 * PAGE
    memory.check(PAGE, 1)
    early[:] = b"late"
    assert memory.read(0, 4) == b"late"


def test_too_many_buffers_are_einval() -> None:
    memory = GuestMemory.over(bytearray(16 * PAGE))
    assert len(memory.iovecs(0, IOV_MAX)) == IOV_MAX
    with pytest.raises(GuestError) as caught:
        memory.iovecs(0, IOV_MAX + 1)
    assert caught.value.errno == Errno.EINVAL
    assert memory.iovecs(0, 0) == []


@pytest.mark.parametrize("lengths", [[TRANSFER_MAX + 1], [TRANSFER_MAX, 1]])
def test_too_many_bytes_are_einval(lengths: list[int]) -> None:
    memory = GuestMemory.over(bytearray(PAGE))
    memory.write(0, b"".join(struct.pack("<II", 0, length) for length in lengths))
    with pytest.raises(GuestError) as caught:
        memory.iovecs(0, len(lengths))
    assert caught.value.errno == Errno.EINVAL


def test_a_bad_buffer_among_good_ones_is_efault() -> None:
    memory = GuestMemory.over(bytearray(PAGE))
    memory.write(0, struct.pack("<IIII", 100, 4, PAGE - 2, 4))
    with pytest.raises(GuestError) as caught:
        memory.iovecs(0, 2)
    assert caught.value.errno == Errno.EFAULT
