"""/proc: processes and the system as proc(5) describes them."""

from __future__ import annotations

import re
import time

import pytest
from vfs_guest import Fd, Guest, Kernel, Terminal

from balenawasm.vfs.description import Description
from balenawasm.vfs.filesystems.proc import ProcFs
from balenawasm.vfs.filesystems.tmpfs import Tmpfs
from balenawasm.vfs.node import OpenFlags
from balenawasm.vfs.path import Namespace
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import O_CREAT, Filetype


def refused(errno):
    return pytest.raises(GuestError, match=f"^{errno.value}$")


@pytest.fixture
def kernel():
    space = Namespace(Tmpfs(1 << 20).root, source=b"overlay", kind=b"overlay")
    space.mount(b"/a dir", Tmpfs(1 << 20).root, source=b"vol", kind=b"tmpfs", options=b"ro")
    kernel = Kernel(space)
    space.mount(b"/proc", ProcFs(kernel).root, source=b"proc", kind=b"proc")
    return kernel


@pytest.fixture
def guest(kernel):
    return kernel.add(Guest(pid=7, parent=kernel.add(Guest(pid=1, argv=(b"init",)))))


def read(kernel, guest, path) -> bytes:
    space = kernel.namespace
    _, description = space.open(guest, space.root, path, oflags=0, flags=OpenFlags(), follow=True)
    buffer = bytearray(1 << 16)
    return bytes(buffer[: description.read(guest, [memoryview(buffer)])])


def fields(text: bytes) -> dict[bytes, bytes]:
    return dict(line.split(b":", 1) for line in text.splitlines() if b":" in line)


def test_self(kernel, guest) -> None:
    assert kernel.namespace.read_link(guest, kernel.namespace.root, b"/proc/self") == b"7"
    assert read(kernel, guest, b"/proc/self/comm") == b"prog\n"
    assert read(kernel, kernel.processes.get(1), b"/proc/self/status").startswith(b"Name:")


def test_process_files(kernel, guest) -> None:
    assert read(kernel, guest, b"/proc/7/cmdline") == b"/bin/prog\0-x\0a b\0"
    assert read(kernel, guest, b"/proc/7/environ") == b"PATH=/bin\0EMPTY=\0"
    status = fields(read(kernel, guest, b"/proc/7/status"))
    assert status[b"Pid"] == b"\t7"
    assert status[b"PPid"] == b"\t1"
    assert status[b"VmRSS"].split() == [b"128", b"kB"]
    assert status[b"State"] == b"\tS (sleeping)"
    assert read(kernel, guest, b"/proc/7/statm").split()[:2] == [b"32", b"32"]
    limits = read(kernel, guest, b"/proc/7/limits").decode().splitlines()
    row = next(line for line in limits if line.startswith("Max open files"))
    assert row.split()[-3:] == ["1024", "1024", "files"]
    assert row.index("1024") == limits[0].index("Soft Limit")


def test_stat_has_the_fields_in_their_places(kernel, guest) -> None:
    guest.executable = b"/bin/a (b) c\n\x01d"
    line = read(kernel, guest, b"/proc/7/stat")
    pid, _, rest = line.partition(b" (")
    name, _, rest = rest.rpartition(b") ")
    values = rest.split()
    assert (pid, name) == (b"7", b"a (b) c??d")
    assert line.count(b"\n") == 1
    assert len(values) == 50
    assert values[:6] == [b"S", b"1", b"5", b"1", b"0", b"-1"]
    assert values[11:15] == [b"150", b"0", b"300", b"0"]
    assert values[28:32] == [b"0", b"512", b"4096", b"8192"]
    assert values[17] == b"1"
    uptime = float(read(kernel, guest, b"/proc/uptime").split()[0])
    assert 0 <= uptime - int(values[19]) / 100 < 60
    assert values[20] == b"%d" % (128 << 10)


def test_signals_family_and_terminal(kernel, guest) -> None:
    guest.session.terminal = Terminal()
    guest.stopped = True
    values = read(kernel, guest, b"/proc/7/stat").rpartition(b") ")[2].split()
    assert values[0] == b"T"
    assert values[4:6] == [b"34816", b"5"]
    status = fields(read(kernel, guest, b"/proc/7/status"))
    assert status[b"State"] == b"\tT (stopped)"
    assert status[b"Umask"] == b"\t0027"
    assert status[b"ShdPnd"] == b"\t0000010000000000"
    assert status[b"SigCgt"] == b"\t0000000000002000"
    assert status[b"NSpgid"] == b"\t5"


def test_a_zombie(kernel, guest) -> None:
    guest.outcome = object()
    assert read(kernel, guest, b"/proc/7/cmdline") == b""
    assert b") Z " in read(kernel, guest, b"/proc/7/stat")
    assert b"Z (zombie)" in read(kernel, guest, b"/proc/7/status")


def test_links(kernel, guest) -> None:
    space = kernel.namespace
    for name, target in ((b"cwd", b"/srv"), (b"exe", b"/bin/prog"), (b"root", b"/")):
        assert space.read_link(guest, space.root, b"/proc/7/" + name) == target
    assert space.resolve(guest, space.root, b"/proc/self/root", follow=True) is space.root


def test_fds(kernel, guest) -> None:
    space = kernel.namespace
    location, file = space.open(
        guest, space.root, b"/f", oflags=O_CREAT, flags=OpenFlags(write=True), follow=True
    )
    file.write(guest, [memoryview(b"data")])
    socket = Description()
    socket.filetype = Filetype.SOCKET_STREAM
    guest.fds.table.update({3: Fd(file, location), 4: Fd(socket)})
    assert space.read_link(guest, space.root, b"/proc/self/fd/3") == b"/f"
    assert space.read_link(guest, space.root, b"/proc/7/fd/4") == b"socket:[0]"
    _, same = space.open(
        guest, space.root, b"/proc/self/fd/3", oflags=0, flags=OpenFlags(), follow=True
    )
    assert same is file
    other = kernel.processes.get(1)
    assert read(kernel, other, b"/proc/7/fd/3") == b"data"
    with refused(Errno.EACCES):
        read(kernel, other, b"/proc/7/fd/4")
    folder = space.resolve(guest, space.root, b"/proc/7/fd", follow=True)
    assert [entry.name for entry in space.children(other, folder)] == [b"3", b"4"]
    del kernel.processes.processes[7]
    with refused(Errno.ENOENT):
        space.children(other, folder)


def test_mounts(kernel, guest) -> None:
    assert read(kernel, guest, b"/proc/mounts").splitlines() == [
        b"overlay / overlay rw 0 0",
        b"vol /a\\040dir tmpfs ro 0 0",
        b"proc /proc proc rw 0 0",
    ]
    lines = read(kernel, guest, b"/proc/self/mountinfo").splitlines()
    assert [line.split()[4] for line in lines] == [b"/", b"/a\\040dir", b"/proc"]
    assert all(line.split()[6] == b"-" for line in lines)
    assert read(kernel, guest, b"/proc/filesystems").split() == [
        *(b"nodev", b"overlay", b"nodev", b"tmpfs", b"nodev", b"proc"),
    ]


def test_system_files(kernel, guest) -> None:
    memory = fields(read(kernel, guest, b"/proc/meminfo"))
    assert int(memory[b"MemTotal"].split()[0]) >= int(memory[b"MemAvailable"].split()[0]) > 0
    assert b"processor\t: 0\n" in read(kernel, guest, b"/proc/cpuinfo")
    assert re.fullmatch(rb"(\d+\.\d\d ){3}1/2 7\n", read(kernel, guest, b"/proc/loadavg"))
    assert read(kernel, guest, b"/proc/version").startswith(b"Linux version 6.")
    stat = read(kernel, guest, b"/proc/stat")
    assert stat.startswith(b"cpu ")
    assert b"\nprocs_running 2\n" in stat
    for path, content in (
        (b"kernel/hostname", b"box\n"),
        (b"kernel/ostype", b"Linux\n"),
        (b"net/core/somaxconn", b"4096\n"),
    ):
        assert read(kernel, guest, b"/proc/sys/" + path) == content
    one, two = (read(kernel, guest, b"/proc/sys/kernel/random/uuid") for _ in range(2))
    assert len(one) == 37
    assert one != two


def test_without_the_hosts_proc(kernel, guest, monkeypatch) -> None:
    from balenawasm.vfs.filesystems import proc_system

    monkeypatch.setattr(proc_system, "_host", lambda _: [])
    assert int(fields(read(kernel, guest, b"/proc/meminfo"))[b"MemTotal"].split()[0]) > 0


def test_every_file_can_be_read_and_none_written(kernel, guest) -> None:
    space = kernel.namespace
    pending = [b"/proc"]
    numbers = set()
    while pending:
        path = pending.pop()
        location = space.resolve(guest, space.root, path, follow=True)
        for entry in space.children(guest, location):
            inner = path + b"/" + entry.name
            stat = space.stat(guest, space.root, inner, follow=False)
            assert (stat.ino, stat.filetype) == (entry.ino, entry.filetype)
            assert stat.ino not in numbers
            numbers.add(stat.ino)
            if entry.filetype is Filetype.DIRECTORY:
                pending.append(inner)
            elif entry.filetype is Filetype.REGULAR_FILE:
                assert stat.size == 0
                assert read(kernel, guest, inner)
                with refused(Errno.EACCES):
                    space.open(
                        guest,
                        space.root,
                        inner,
                        oflags=0,
                        flags=OpenFlags(write=True),
                        follow=True,
                    )
        with refused(Errno.EROFS):
            space.open(guest, location, b"new", oflags=O_CREAT, flags=OpenFlags(), follow=True)
    assert len(numbers) > 40


def test_unknown_processes(kernel, guest) -> None:
    for path in (b"/proc/8", b"/proc/07", b"/proc/8/status", b"/proc/nothing", b"/proc/7/nothing"):
        with refused(Errno.ENOENT):
            read(kernel, guest, path)


def test_a_process_that_ends_while_it_is_looked_at(kernel, guest) -> None:
    folder = kernel.namespace.resolve(guest, kernel.namespace.root, b"/proc/7", follow=True)
    del kernel.processes.processes[7]
    for name in (b"status", b"cmdline", b"stat"):
        with refused(Errno.ENOENT):
            folder.node.lookup(guest, name).open(guest, OpenFlags())
    with refused(Errno.ENOENT):
        folder.node.lookup(guest, b"cwd").readlink(guest)


def test_start_time_follows_the_clock_since_boot(kernel, guest) -> None:
    guest.started_ns = time.monotonic_ns() - 5 * 10**9
    ticks = int(read(kernel, guest, b"/proc/7/stat").rpartition(b") ")[2].split()[19])
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert 4 < now - ticks / 100 < 60
