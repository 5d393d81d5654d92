from __future__ import annotations

import pytest
from kernel_parts import LONG, Counted, in_thread

from balenawasm.kernel.fd_table import DIRECTORY_RIGHTS, FdEntry, FdTable, rights_for
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype


def entry() -> tuple[FdEntry, Counted]:
    description = Counted()
    return FdEntry(description), description


def errno_of(function: object, *arguments: object) -> Errno:
    with pytest.raises(GuestError) as caught:
        function(*arguments)  # type: ignore[operator]
    return caught.value.errno


def test_numbers_are_the_lowest_free_ones() -> None:
    table = FdTable(16)
    assert [table.add(entry()[0]) for _ in range(5)] == [0, 1, 2, 3, 4]
    table.remove(3)
    table.remove(1)
    assert [table.add(entry()[0]) for _ in range(3)] == [1, 3, 5]


def test_lowest_asked_for() -> None:
    table = FdTable(16)
    assert table.add(entry()[0], lowest=3) == 3
    assert table.add(entry()[0], lowest=3) == 4
    assert [table.add(entry()[0]) for _ in range(4)] == [0, 1, 2, 5]


def test_full_table_is_emfile_and_closes_what_it_refuses() -> None:
    table = FdTable(2)
    table.add(entry()[0])
    table.check_room()
    table.add(entry()[0])
    assert errno_of(table.check_room) == Errno.EMFILE
    refused, description = entry()
    assert errno_of(table.add, refused) == Errno.EMFILE
    assert description.closed == 1
    table.remove(0)
    assert table.add(entry()[0]) == 0


def test_last_fd_closes() -> None:
    table = FdTable(8)
    first, description = entry()
    table.add(first)
    table.add(first.shared())
    table.remove(0)
    assert description.closed == 0
    table.remove(1)
    assert description.closed == 1


def test_closed_and_unknown_numbers_are_ebadf() -> None:
    table = FdTable(8)
    table.add(entry()[0])
    table.remove(0)
    for attempt in (table.get, table.remove):
        assert errno_of(attempt, 0) == Errno.EBADF
        assert errno_of(attempt, 0xFFFF_FFFF) == Errno.EBADF
    assert table.find(0) is None


def test_put_replaces() -> None:
    table = FdTable(8)
    first, one = entry()
    second, two = entry()
    table.put(5, first)
    table.put(5, second)
    assert (one.closed, two.closed) == (1, 0)
    assert table.get(5) is second
    assert errno_of(table.put, 8, first) == Errno.EBADF


def test_renumber_moves_and_closes() -> None:
    table = FdTable(8)
    first, one = entry()
    second, two = entry()
    table.add(first)
    table.add(second)
    table.renumber(0, 1)
    assert table.get(1) is first
    assert (one.closed, two.closed) == (0, 1)
    assert list(table) == [1]
    table.renumber(1, 1)
    assert table.get(1) is first
    assert errno_of(table.renumber, 1, 0) == Errno.EBADF
    assert errno_of(table.renumber, 0, 1) == Errno.EBADF
    assert table.add(entry()[0]) == 0


def test_close_all_survives_one_that_cannot_be_closed() -> None:
    class Failing(Counted):
        def close(self) -> None:
            super().close()
            raise OSError(28, "full")

    table = FdTable(8)
    failing, (good, description) = Failing(), entry()
    table.add(FdEntry(failing))
    table.add(good)
    table.close_all()
    assert (failing.closed, description.closed) == (1, 1)
    assert len(table) == 0


def test_holds() -> None:
    table = FdTable(8)
    one, description = entry()
    assert not table.holds(description)
    table.add(one)
    assert table.holds(description)


def test_many_threads_get_different_numbers() -> None:
    table = FdTable(4000)
    futures = [in_thread(lambda: [table.add(entry()[0]) for _ in range(400)]) for _ in range(8)]
    numbers = [number for future in futures for number in future.result(LONG)]
    assert sorted(numbers) == list(range(3200))


def test_rights_only_name_what_works() -> None:
    description = Counted()
    description.filetype = Filetype.CHARACTER_DEVICE
    assert rights_for(description) & w.FD_SEEK, "as /dev/null"
    description.host_fd = 0
    rights = rights_for(description)
    assert not rights & (w.FD_SEEK | w.FD_TELL), "wasi-libc takes this for a terminal"
    assert rights & w.FD_READ
    assert rights & w.FD_WRITE
    description.writable = False
    assert not rights_for(description) & (w.FD_WRITE | w.FD_ALLOCATE)
    description.filetype, description.seekable = Filetype.REGULAR_FILE, True
    assert rights_for(description) & w.FD_SEEK
    assert not rights_for(description) & w.FD_FILESTAT_SET_SIZE
    description.filetype = Filetype.DIRECTORY
    assert rights_for(description) == DIRECTORY_RIGHTS
    assert not DIRECTORY_RIGHTS & (w.FD_SEEK | w.FD_READ | w.FD_FILESTAT_SET_SIZE)
    description.filetype = Filetype.SOCKET_STREAM
    assert rights_for(description) & w.SOCK_ACCEPT


def test_require() -> None:
    one = FdEntry(Counted(), rights_base=w.FD_READ)
    one.require(w.FD_READ)
    assert errno_of(one.require, w.FD_READ | w.FD_WRITE) == Errno.ENOTCAPABLE
    assert errno_of(one.directory) == Errno.ENOTDIR


def test_what_is_closed_comes_not_back() -> None:
    """Another process may look while the owner closes: it must not get a dead host fd."""
    table = FdTable(8)
    one, description = entry()
    table.add(one)
    found = table.entries()[0]
    table.remove(0)
    assert errno_of(table.add, found.shared()) == Errno.EBADF
    assert errno_of(table.put, 1, found.shared()) == Errno.EBADF
    assert (len(table), description.closed) == (0, 1)
