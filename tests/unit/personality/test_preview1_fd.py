from __future__ import annotations

import pytest
from preview1_guest import FILE_RIGHTS, NOWHERE, READ_RIGHTS, CallError, Guest

from balenawasm.kernel.pipe import make_pipe
from balenawasm.wasi import flags as w
from balenawasm.wasi.errno import Errno
from balenawasm.wasi.flags import Filetype, Whence


@pytest.fixture
def fd(guest: Guest) -> int:
    """An open file with ten bytes, the offset at its start."""
    fd = guest.open(b"file", oflags=w.O_CREAT)
    guest.write(fd, b"0123456789")
    guest.seek(fd, 0)
    return fd


def errno(guest: Guest, name: str, *arguments: int) -> Errno:
    with pytest.raises(CallError) as caught:
        guest.call(name, *arguments)
    return caught.value.errno


# Data.


def test_offset_moves_with_reads_and_writes(guest: Guest, fd: int) -> None:
    assert guest.read(fd, 4) == b"0123"
    assert guest.tell(fd) == 4
    assert guest.write(fd, b"XX") == 2
    assert guest.tell(fd) == 6
    assert guest.read(fd, 100) == b"6789"
    assert guest.read(fd, 100) == b""
    assert guest.read(fd, 100, 3) == b"3XX6789"
    assert guest.tell(fd) == 10
    assert guest.write(fd, b"!", 20) == 1
    assert guest.read(fd, 100, 9) == b"9" + bytes(10) + b"!"


def test_several_buffers(guest: Guest, fd: int) -> None:
    one, two, result = guest.alloc(3), guest.alloc(4), guest.alloc(4)
    vectors = guest.iovecs((one, 3), (0, 0), (two, 4))
    guest.call("fd_read", fd, vectors, 3, result)
    assert (guest.get(one, 3), guest.get(two, 4), guest.u32(result)) == (b"012", b"3456", 7)
    guest.call("fd_write", fd, vectors, 3, result)
    assert guest.read(fd, 100, 7) == b"0123456"
    guest.call("fd_read", fd, 0, 0, result)
    assert guest.u32(result) == 0


def test_a_bad_pointer_has_no_effect(guest: Guest, fd: int) -> None:
    good, vectors = guest.alloc(4), guest.iovecs((guest.put(b"lost"), 4))
    bad = guest.iovecs((NOWHERE, 4))
    for name in ("fd_read", "fd_write"):
        assert errno(guest, name, fd, vectors, 1, NOWHERE) == Errno.EFAULT
        assert errno(guest, name, fd, bad, 1, good) == Errno.EFAULT
        assert errno(guest, name, fd, NOWHERE, 1, good) == Errno.EFAULT
    for name in ("fd_pread", "fd_pwrite"):
        assert errno(guest, name, fd, vectors, 1, 0, NOWHERE) == Errno.EFAULT
        assert errno(guest, name, fd, bad, 1, 0, good) == Errno.EFAULT
    assert errno(guest, "fd_seek", fd, 5, 0, NOWHERE) == Errno.EFAULT
    assert errno(guest, "fd_tell", fd, NOWHERE) == Errno.EFAULT
    assert guest.tell(fd) == 0
    assert guest.read(fd) == b"0123456789"


def test_limits_of_one_call(guest: Guest, fd: int) -> None:
    result = guest.alloc(4)
    assert errno(guest, "fd_write", fd, guest.alloc(8 * 1025), 1025, result) == Errno.EINVAL
    huge = guest.iovecs((0, 0x8000_0000))
    assert errno(guest, "fd_read", fd, huge, 1, result) == Errno.EINVAL


def test_seeking(guest: Guest, fd: int) -> None:
    assert guest.seek(fd, 3, Whence.SET) == 3
    assert guest.seek(fd, -1, Whence.CUR) == 2
    assert guest.seek(fd, -4, Whence.END) == 6
    assert guest.seek(fd, 5, Whence.END) == 15
    assert guest.seek(fd, (1 << 63) - 1, Whence.SET) == (1 << 63) - 1
    result = guest.alloc(8)
    for offset, whence in ((-1, 0), (-11, 2), (1 << 63, 0), (1, 1), (0, 3), (0, 0xFFFF_FFFF)):
        assert errno(guest, "fd_seek", fd, offset, whence, result) == Errno.EINVAL


@pytest.mark.parametrize("offset", [1 << 63, (1 << 64) - 1])
def test_offsets_beyond_all_bounds(guest: Guest, fd: int, offset: int) -> None:
    vectors, result = guest.iovecs((guest.alloc(4), 4)), guest.alloc(4)
    assert errno(guest, "fd_pread", fd, vectors, 1, offset, result) == Errno.EINVAL
    assert errno(guest, "fd_pwrite", fd, vectors, 1, offset, result) == Errno.EINVAL
    assert errno(guest, "fd_filestat_set_size", fd, offset) == Errno.EFBIG
    assert errno(guest, "fd_allocate", fd, offset, 1) == Errno.EFBIG
    assert errno(guest, "fd_allocate", fd, 1, offset) == Errno.EFBIG
    assert errno(guest, "fd_advise", fd, offset, 0, 0) == Errno.EINVAL
    assert errno(guest, "fd_filestat_set_times", fd, offset, 0, w.ATIM) == Errno.EINVAL


def test_streams_have_no_offset(guest: Guest) -> None:
    for end in make_pipe():
        fd = guest.install(end)
        vectors, result = guest.iovecs((guest.alloc(4), 4)), guest.alloc(8)
        assert errno(guest, "fd_seek", fd, 0, 0, result) == Errno.ESPIPE
        assert errno(guest, "fd_tell", fd, result) == Errno.ESPIPE
        assert errno(guest, "fd_pread", fd, vectors, 1, 0, result) == Errno.ESPIPE
        assert errno(guest, "fd_pwrite", fd, vectors, 1, 0, result) == Errno.ESPIPE
        assert errno(guest, "fd_advise", fd, 0, 0, 0) == Errno.ESPIPE
        assert guest.stat(fd).filetype == Filetype.UNKNOWN
        guest.close(fd)


def test_directories_are_not_read(guest: Guest) -> None:
    vectors, result = guest.iovecs((guest.alloc(4), 4)), guest.alloc(8)
    for name in ("fd_read", "fd_write"):
        assert errno(guest, name, 3, vectors, 1, result) == Errno.ENOTCAPABLE
    assert errno(guest, "fd_seek", 3, 0, 0, result) == Errno.ENOTCAPABLE
    assert errno(guest, "fd_allocate", 3, 0, 1) == Errno.ENOTCAPABLE
    assert errno(guest, "fd_filestat_set_size", 3, 0) == Errno.ENOTCAPABLE


def test_append(guest: Guest, fd: int) -> None:
    appending = guest.open(b"file", fdflags=w.APPEND)
    guest.write(appending, b"AB")
    assert guest.tell(appending) == 12
    guest.seek(appending, 0)
    guest.write(appending, b"C")
    assert guest.read(fd) == b"0123456789ABC"
    guest.call("fd_fdstat_set_flags", appending, 0)
    guest.seek(appending, 0)
    guest.write(appending, b"x")
    assert guest.read(fd, 3, 0) == b"x12"


# The number and its rights.


def test_fdstat(guest: Guest, fd: int) -> None:
    kind, flags, base, inheriting = guest.fdstat(fd)
    assert (kind, flags, base, inheriting) == (4, 0, FILE_RIGHTS, w.RIGHTS_ALL)
    kind, flags, base, inheriting = guest.fdstat(3)
    assert (kind, flags, inheriting) == (Filetype.DIRECTORY, 0, w.RIGHTS_ALL)
    assert base & w.PATH_OPEN
    assert not base & (w.FD_READ | w.FD_SEEK | w.FD_FILESTAT_SET_SIZE)


def test_flags(guest: Guest, fd: int) -> None:
    guest.call("fd_fdstat_set_flags", fd, w.APPEND | w.NONBLOCK)
    assert guest.fdstat(fd)[1] == w.APPEND | w.NONBLOCK
    for bad in (w.SYNC, w.DSYNC, w.RSYNC, 1 << 5, 0xFFFF_FFFF):
        assert errno(guest, "fd_fdstat_set_flags", fd, bad) == Errno.EINVAL
    assert guest.fdstat(fd)[1] == w.APPEND | w.NONBLOCK
    synced = guest.open(b"file", fdflags=w.DSYNC)
    guest.call("fd_fdstat_set_flags", synced, w.DSYNC | w.APPEND)


def test_rights_only_shrink(guest: Guest, fd: int) -> None:
    guest.call("fd_fdstat_set_rights", fd, FILE_RIGHTS & ~w.FD_WRITE, w.FD_READ)
    assert guest.fdstat(fd)[2:] == (FILE_RIGHTS & ~w.FD_WRITE, w.FD_READ)
    for base, inheriting in ((FILE_RIGHTS, 0), (0, w.FD_WRITE), (1 << 60, 0)):
        found = errno(guest, "fd_fdstat_set_rights", fd, base, inheriting)
        assert found == Errno.ENOTCAPABLE
    guest.call("fd_fdstat_set_rights", fd, 0, 0)


NEEDS = [
    ("fd_read", w.FD_READ, (0, 0, 1024)),
    ("fd_write", w.FD_WRITE, (0, 0, 1024)),
    ("fd_pread", w.FD_READ, (0, 0, 0, 1024)),
    ("fd_pread", w.FD_SEEK, (0, 0, 0, 1024)),
    ("fd_pwrite", w.FD_WRITE, (0, 0, 0, 1024)),
    ("fd_seek", w.FD_SEEK, (1, 0, 1024)),
    ("fd_tell", w.FD_SEEK | w.FD_TELL, (1024,)),
    ("fd_sync", w.FD_SYNC, ()),
    ("fd_datasync", w.FD_DATASYNC, ()),
    ("fd_advise", w.FD_ADVISE, (0, 0, 0)),
    ("fd_allocate", w.FD_ALLOCATE, (0, 1)),
    ("fd_fdstat_set_flags", w.FD_FDSTAT_SET_FLAGS, (0,)),
    ("fd_filestat_get", w.FD_FILESTAT_GET, (1024,)),
    ("fd_filestat_set_size", w.FD_FILESTAT_SET_SIZE, (0,)),
    ("fd_filestat_set_times", w.FD_FILESTAT_SET_TIMES, (0, 0, 0)),
]


@pytest.mark.parametrize(("name", "right", "arguments"), NEEDS)
def test_rights_are_enforced(
    guest: Guest, fd: int, name: str, right: int, arguments: tuple[int, ...]
) -> None:
    guest.call(name, fd, *arguments)
    guest.call("fd_fdstat_set_rights", fd, FILE_RIGHTS & ~right, 0)
    assert errno(guest, name, fd, *arguments) == Errno.ENOTCAPABLE


def test_the_right_to_tell_is_enough_to_ask(guest: Guest, fd: int) -> None:
    guest.call("fd_fdstat_set_rights", fd, w.FD_TELL, 0)
    assert guest.tell(fd) == 0
    assert guest.seek(fd, 0, Whence.CUR) == 0


def test_closing(guest: Guest, fd: int) -> None:
    guest.close(fd)
    assert errno(guest, "fd_close", fd) == Errno.EBADF
    guest.close(3)
    assert errno(guest, "fd_prestat_get", 3, 1024) == Errno.EBADF


def test_renumber(guest: Guest, fd: int) -> None:
    other = guest.open(b"file")
    guest.call("fd_renumber", fd, other)
    assert guest.read(other) == b"0123456789"
    assert errno(guest, "fd_renumber", fd, other) == Errno.EBADF
    assert errno(guest, "fd_renumber", other, 40) == Errno.EBADF


def test_preopens(guest: Guest, fd: int) -> None:
    guest.on_path("path_create_directory", b"data")
    guest.preopen(b"/data", 9)
    result, name = guest.alloc(8), guest.alloc(16)
    guest.call("fd_prestat_get", 9, result)
    assert guest.get(result, 8) == b"\0\0\0\0\5\0\0\0"
    guest.call("fd_prestat_dir_name", 9, name, 5)
    assert guest.get(name, 6) == b"/data\0"
    guest.call("fd_prestat_dir_name", 9, name, 16)
    assert errno(guest, "fd_prestat_dir_name", 9, name, 4) == Errno.ENAMETOOLONG
    assert errno(guest, "fd_prestat_dir_name", fd, name, 5) == Errno.EBADF
    # In front of a preopened directory an fd is one to be skipped, else it would hide that.
    assert fd < 9
    guest.call("fd_prestat_get", fd, result)
    assert guest.get(result, 8) == b"\xff\0\0\0\0\0\0\0"
    assert errno(guest, "fd_prestat_get", 8, result) == Errno.EBADF
    guest.close(9)
    guest.close(3)
    assert errno(guest, "fd_prestat_get", fd, result) == Errno.EBADF


def test_a_full_table_opens_nothing(guest: Guest) -> None:
    fds = []
    with pytest.raises(CallError) as caught:
        fds.extend(guest.open(b"f", oflags=w.O_CREAT) for _ in range(100))
    assert caught.value.errno == Errno.EMFILE
    with pytest.raises(CallError):
        guest.open(b"new", oflags=w.O_CREAT)
    with pytest.raises(CallError) as caught:
        guest.stat(b"new")
    assert caught.value.errno == Errno.ENOENT


# The file behind it.


def test_sizes(guest: Guest, fd: int) -> None:
    guest.call("fd_filestat_set_size", fd, 4)
    assert guest.read(fd) == b"0123"
    guest.call("fd_filestat_set_size", fd, 6)
    assert guest.read(fd, 10, 0) == b"0123\0\0"
    guest.call("fd_allocate", fd, 2, 2)
    assert guest.stat(fd).size == 6
    guest.call("fd_allocate", fd, 5, 5)
    assert guest.stat(fd).size == 10
    assert errno(guest, "fd_allocate", fd, 5, 0) == Errno.EINVAL


def test_times(guest: Guest, fd: int) -> None:
    guest.call("fd_filestat_set_times", fd, 100, 200, w.ATIM | w.MTIM)
    stat = guest.stat(fd)
    assert (stat.atim, stat.mtim) == (100, 200)
    guest.call("fd_filestat_set_times", fd, 5, 6, w.MTIM)
    assert (guest.stat(fd).atim, guest.stat(fd).mtim) == (100, 6)
    guest.call("fd_filestat_set_times", fd, 5, 6, w.ATIM_NOW)
    assert guest.stat(fd).atim > 10**18
    guest.call("fd_filestat_set_times", fd, 5, 6, 0)
    assert guest.stat(fd).mtim == 6
    for flags in (w.ATIM | w.ATIM_NOW, w.MTIM | w.MTIM_NOW, 1 << 4):
        assert errno(guest, "fd_filestat_set_times", fd, 0, 0, flags) == Errno.EINVAL


def test_times_before_1970_show_as_zero(guest: Guest, fd: int) -> None:
    guest.root.lookup(guest.process, b"file").set_times(-5, 7)
    stat = guest.stat(fd)
    assert (stat.atim, stat.mtim, stat.size) == (0, 7, 10)


def test_advice(guest: Guest, fd: int) -> None:
    for advice in range(6):
        guest.call("fd_advise", fd, 0, 10, advice)
    assert errno(guest, "fd_advise", fd, 0, 10, 6) == Errno.EINVAL
    assert errno(guest, "fd_advise", fd, (1 << 63) - 1, 1, 0) == Errno.EINVAL


def test_sync(guest: Guest, fd: int) -> None:
    guest.call("fd_sync", fd)
    guest.call("fd_datasync", fd)


def test_reading_only(guest: Guest, fd: int) -> None:
    reading = guest.open(b"file", rights=READ_RIGHTS)
    assert guest.fdstat(reading)[2] == READ_RIGHTS
    with pytest.raises(CallError) as caught:
        guest.write(reading, b"x")
    assert caught.value.errno == Errno.ENOTCAPABLE
