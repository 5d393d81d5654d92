from __future__ import annotations

import struct
import time

import pytest
from preview1_guest import CallError, Guest

from balenawasm.kernel.outcome import ExitRequest, Killed
from balenawasm.wasi.errno import Errno


def strings(guest: Guest, kind: str) -> list[bytes]:
    count, size = guest.alloc(4), guest.alloc(4)
    guest.call(f"{kind}_sizes_get", count, size)
    pointers, buffer = guest.alloc(4 * guest.u32(count)), guest.alloc(guest.u32(size) + 1)
    guest.buffer[buffer + guest.u32(size)] = 0x55
    guest.call(f"{kind}_get", pointers, buffer)
    assert guest.buffer[buffer + guest.u32(size)] == 0x55, "not a byte more than announced"
    starts = struct.unpack_from(f"<{guest.u32(count)}I", guest.buffer, pointers)
    return [guest.get(at, 300).split(b"\0")[0] for at in starts]


@pytest.mark.parametrize("argv", [[b"one"], [b"one", b"", b"t w o", b"\xff\xfe"]])
def test_arguments(argv: list[bytes]) -> None:
    assert strings(Guest(argv), "args") == argv


@pytest.mark.parametrize("environ", [[], [b"A=1", b"B=", b"C=a=b"]])
def test_environment(environ: list[bytes]) -> None:
    assert strings(Guest([b"x"], environ), "environ") == environ


def test_sizes_of_nothing_are_zero(guest: Guest) -> None:
    count, size = guest.put(b"\xff" * 4), guest.put(b"\xff" * 4)
    guest.call("environ_sizes_get", count, size)
    assert (guest.u32(count), guest.u32(size)) == (0, 0)
    guest.call("environ_get", 0, 0)


def test_clocks(guest: Guest) -> None:
    result = guest.alloc(8)
    times = []
    for clock in range(4):
        guest.call("clock_res_get", clock, result)
        assert guest.u64(result) > 0
        guest.call("clock_time_get", clock, 1, result)
        times.append(guest.u64(result))
    assert abs(times[0] - time.time_ns()) < 10**10
    for name, arguments in (("clock_res_get", (4,)), ("clock_time_get", (4, 0))):
        with pytest.raises(CallError) as caught:
            guest.call(name, *arguments, result)
        assert caught.value.errno == Errno.EINVAL


def test_random_bytes(guest: Guest) -> None:
    one, two = guest.alloc(32), guest.alloc(32)
    guest.call("random_get", one, 32)
    guest.call("random_get", two, 32)
    assert guest.get(one, 32) != guest.get(two, 32)
    guest.call("random_get", one, 0)


def test_much_randomness_stops_for_a_kill(guest: Guest) -> None:
    guest.buffer += bytes(0)
    big = Guest()
    big.buffer = bytearray(3 << 20)
    big.process.memory.view = memoryview(big.buffer)
    big.call("random_get", 0, 3 << 20)
    assert big.buffer[-64:] != bytes(64)
    big.process.signal(15)
    with pytest.raises(Killed):
        big.call("random_get", 0, 3 << 20)


def test_exit(guest: Guest) -> None:
    with pytest.raises(ExitRequest) as caught:
        guest.call("proc_exit", 7)
    assert caught.value.code == 7


@pytest.mark.parametrize(("number", "signo"), [(15, 15), (9, 9), (6, 6), (30, 31), (28, 29)])
def test_raising_a_deadly_signal(guest: Guest, number: int, signo: int) -> None:
    with pytest.raises(Killed):
        guest.call("proc_raise", number)
    assert guest.process.killed_by == signo


@pytest.mark.parametrize("number", [16, 17, 22, 27])
def test_raising_an_ignored_signal(guest: Guest, number: int) -> None:
    guest.call("proc_raise", number)


@pytest.mark.parametrize("number", [0, 31, 255, 0xFFFF_FFFF])
def test_raising_no_signal(guest: Guest, number: int) -> None:
    with pytest.raises(CallError) as caught:
        guest.call("proc_raise", number)
    assert caught.value.errno == Errno.EINVAL


def test_yield(guest: Guest) -> None:
    guest.call("sched_yield")
