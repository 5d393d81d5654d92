from __future__ import annotations

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.file_locks import END, RECORDS_MAX, FileLocks, Record
from balenawasm.kernel.outcome import Exited
from balenawasm.vfs.description import Description
from balenawasm.vfs.node import Stat
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import Filetype


class Opened(Description):
    """An open file with this inode number."""

    def __init__(self, ino: int = 1) -> None:
        super().__init__()
        self.ino = ino

    def stat(self) -> Stat:
        return Stat(1, self.ino, Filetype.REGULAR_FILE, 1, 0, 0, 0, 0)


def opened(ino: int = 1) -> Opened:
    made = Opened(ino)
    made.retain()
    return made


def refused(call, *arguments, **options) -> Errno:
    with pytest.raises(GuestError) as caught:
        call(*arguments, **options)
    return caught.value.errno


@pytest.fixture
def locks() -> FileLocks:
    return FileLocks()


def test_locks_of_open_files(locks: FileLocks) -> None:
    caller = new_process()
    one, two, other = opened(), opened(), opened(2)
    locks.lock_file(caller, one, exclusive=True, block=False)
    locks.lock_file(caller, one, exclusive=True, block=False)
    locks.lock_file(caller, other, exclusive=True, block=False)
    assert refused(locks.lock_file, caller, two, exclusive=False, block=False) is Errno.EAGAIN
    locks.lock_file(caller, one, exclusive=False, block=False)
    locks.lock_file(caller, two, exclusive=False, block=False)
    # What was held is given up first, even when the other lock is not to be had.
    assert refused(locks.lock_file, caller, one, exclusive=True, block=False) is Errno.EAGAIN
    locks.lock_file(caller, two, exclusive=True, block=False)
    two.release()
    locks.lock_file(caller, one, exclusive=True, block=False)
    locks.unlock_file(one)
    locks.unlock_file(one)
    other.release()
    assert not locks._files
    assert not locks._keys


def test_ranges(locks: FileLocks) -> None:
    one, two = new_process(1), new_process(2)
    file = opened()

    def held(start: int, end: int, *, exclusive: bool = True) -> tuple[int, int, bool] | None:
        found = locks.holder(file, Record(two, start, end, exclusive))
        return None if found is None else (found.start, found.end, found.exclusive)

    locks.lock_record(file, Record(one, 10, 30, True), block=False)
    locks.lock_record(file, Record(one, 15, 20, False), block=False)
    assert held(0, 10) is None
    assert held(0, 11) == (10, 15, True)
    assert held(15, 20) == (15, 20, False)
    assert held(15, 20, exclusive=False) is None
    assert held(29, END) == (20, 30, True)
    locks.unlock_record(one, file, 12, 25)
    assert held(12, 25) is None
    assert held(0, 12) == (10, 12, True)
    locks.lock_record(file, Record(two, 12, 25, True), block=False)
    wanted = Record(one, 0, END, True)
    assert refused(locks.lock_record, file, wanted, block=False) is Errno.EAGAIN
    locks.closed(new_process(3), file)
    locks.closed(two, file)
    locks.lock_record(file, wanted, block=False)
    assert held(0, 1) == (0, END, True)


def test_records_have_a_limit_and_go_with_their_process(locks: FileLocks) -> None:
    process = new_process()
    files = [opened(1), opened(2)]
    for at in range(RECORDS_MAX):
        locks.lock_record(files[at % 2], Record(process, 2 * at, 2 * at + 1, True), block=False)
    more = Record(process, END - 1, END, True)
    assert refused(locks.lock_record, files[0], more, block=False) is Errno.ENOLCK
    process.finish(Exited(0))
    locks.lock_record(files[0], Record(new_process(2), 0, END, True), block=False)
    assert process not in locks._owners
    assert set(locks._files) == {(1, 1)}


def test_who_waits_gets_it_when_it_is_free(locks: FileLocks) -> None:
    holder, waiter = new_process(1), new_process(2)
    file, same = opened(), opened()
    locks.lock_file(holder, file, exclusive=True, block=True)
    locks.lock_record(file, Record(holder, 0, 5, True), block=True)
    wanted = Record(waiter, 0, 1, False)
    whole = in_thread(lambda: locks.lock_file(waiter, same, exclusive=True, block=True))
    locks.unlock_file(file)
    whole.result(LONG)
    part = in_thread(lambda: locks.lock_record(same, wanted, block=True))
    locks.unlock_record(holder, file, 0, 1)
    part.result(LONG)
    locks.closed(waiter, same)
    same.release()
    holder.finish(Exited(0))
    assert not locks._files


def test_a_kill_ends_the_wait(locks: FileLocks) -> None:
    holder, waiter = new_process(1), new_process(2)
    file, same = opened(), opened()
    locks.lock_file(holder, file, exclusive=True, block=True)
    future = in_thread(lambda: locks.lock_file(waiter, same, exclusive=True, block=True))
    waiter.signal(9)
    assert type(future.exception(LONG)).__name__ == "Killed"
    file.release()
    assert not locks._files
