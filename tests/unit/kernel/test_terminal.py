"""Terminals: settings, size, and which process group may use them."""

from __future__ import annotations

import os
import select
import signal
import termios
from typing import TYPE_CHECKING

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel import terminal_commands
from balenawasm.kernel.process_table import ProcessTable
from balenawasm.kernel.signals import IGNORE, SA_RESTART, Interrupted, Kind, SigAction, caught
from balenawasm.kernel.terminal import LFLAG, TerminalStream, open_terminal
from balenawasm.wasi.errno import Errno, GuestError
from balenawasm.wasi.flags import NONBLOCK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from balenawasm.kernel.process import Process


class Place:
    """A session: a leader in the foreground, and a child in a background group."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        self.stream = open_terminal(slave)
        self.stream.retain()
        os.close(slave)
        self.tty = self.stream.tty
        self.processes = ProcessTable(10)
        self.leader = self._add(None)
        self.child = self._add(self.leader)
        self.processes.setpgid(self.leader, self.child.pid, self.child.pid)
        self.tty.take_control(self.leader, self.processes)

    def _add(self, parent: Process | None) -> Process:
        process = new_process(self.processes.reserve(), parent=parent)
        self.processes.add(process)
        return process

    def ask(self, process: Process, command: bytes) -> bytes:
        word, *arguments = command.split()
        count, run = terminal_commands.COMMANDS[word]
        assert len(arguments) == count
        return run(None, process, arguments)  # type: ignore[arg-type]

    def read(self, process: Process) -> bytes:
        buffer = bytearray(100)
        return bytes(buffer[: self.stream.read(process, [memoryview(buffer)])])


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.tty.close()
    made.stream.release()
    os.close(made.master)


def failing(errno: Errno) -> object:
    return pytest.raises(GuestError, check=lambda error: error.errno == errno)


def test_the_line_discipline_is_the_hosts(place: Place) -> None:
    os.write(place.master, b"onw\x7f\x7fe\n")
    assert place.read(place.leader) == b"oe\n"
    assert place.stream.write(place.leader, [memoryview(b"x\n")]) == 2
    shown = b""
    while not shown.endswith(b"x\r\n"):  # after the echo
        shown += os.read(place.master, 100)


def test_reads_with_a_limit_of_time(place: Place) -> None:
    attributes = place.tty.attributes()
    attributes[LFLAG] &= ~(termios.ICANON | termios.ECHO)
    for least, tenths in ((0, 0), (0, 2)):
        attributes[-1][termios.VMIN], attributes[-1][termios.VTIME] = least, tenths
        place.tty.set_attributes(place.leader, termios.TCSANOW, attributes)
        assert place.tty.read_limit() == tenths * 100_000_000
        assert place.read(place.leader) == b""
        os.write(place.master, b"k")
        select.select([place.stream.host_fd], [], [], LONG)
        assert place.read(place.leader) == b"k"
    place.stream.set_flags(NONBLOCK)
    with failing(Errno.EAGAIN):
        place.read(place.leader)
    attributes[-1][termios.VMIN] = 1
    place.tty.set_attributes(place.leader, termios.TCSANOW, attributes)
    assert place.tty.read_limit() is None
    place.tty.close()
    assert place.tty.read_limit() is None


def test_size_and_its_signal(place: Place) -> None:
    place.leader.signals.set_action(signal.SIGWINCH, caught())
    assert place.ask(place.child, b"tcsetwinsize 90 30") == b"ok"
    assert place.ask(place.leader, b"tcgetwinsize") == b"90 30"
    assert place.leader.pending == 1 << signal.SIGWINCH - 1
    assert not place.child.pending
    with failing(Errno.EINVAL):
        place.ask(place.leader, b"tcsetwinsize 90 65536")


def test_settings_as_text(place: Place) -> None:
    before = place.ask(place.leader, b"tcgetattr").split()
    raw = [*before[:LFLAG], b"%d" % (int(before[LFLAG]) & ~termios.ICANON), *before[LFLAG + 1 :]]
    assert place.ask(place.leader, b"tcsetattr now " + b" ".join(raw)) == b"ok"
    assert place.ask(place.leader, b"tcgetattr").split() == raw
    os.write(place.master, b"k")
    assert place.read(place.leader) == b"k"
    assert place.ask(place.leader, b"tcsetattr flush " + b" ".join(before)) == b"ok"
    for wrong in (b"tcsetattr now 1 2 3 4 5 6 zz", b"tcsetattr later 1 2 3 4 5 6 " + b"00" * 32):
        with failing(Errno.EINVAL):
            place.ask(place.leader, wrong)


def test_the_foreground_group_changes(place: Place) -> None:
    assert place.ask(place.leader, b"tcgetpgrp") == b"%d" % place.leader.pgid
    assert place.ask(place.leader, b"tcsetpgrp %d" % place.child.pgid) == b"ok"
    place.child.signals.set_action(signal.SIGINT, caught())
    place.tty.signal(signal.SIGINT)
    assert place.child.pending
    assert place.leader.killed_by is None
    with failing(Errno.EPERM):
        place.ask(place.child, b"tcsetpgrp 99")


def test_a_background_process_that_reads_stops(place: Place) -> None:
    os.write(place.master, b"for the child\n")
    reading = in_thread(lambda: place.read(place.child))
    status = place.processes.wait(place.leader, untraced=True)
    assert status is not None
    assert status[1].wait_status == signal.SIGTTIN << 8 | 0x7F
    place.ask(place.leader, b"tcsetpgrp %d" % place.child.pgid)
    place.processes.signal_group(place.child.pgid, signal.SIGCONT)
    assert reading.result(LONG) == b"for the child\n"


def test_background_processes_that_cannot_stop(place: Place) -> None:
    child = place.child
    child.signals.set_action(signal.SIGTTIN, IGNORE)
    with failing(Errno.EIO):
        place.read(child)
    child.signals.set_action(signal.SIGTTIN, caught())
    with pytest.raises(Interrupted):
        place.read(child)


def test_tostop(place: Place) -> None:
    assert place.stream.write(place.child, [memoryview(b"a")]) == 1
    attributes = place.tty.attributes()
    attributes[LFLAG] |= termios.TOSTOP
    place.tty.set_attributes(place.leader, termios.TCSANOW, attributes)
    place.child.signals.set_action(signal.SIGTTOU, caught())
    with pytest.raises(Interrupted):
        place.stream.write(place.child, [memoryview(b"a")])
    place.child.signals.set_action(signal.SIGTTOU, SigAction(Kind.IGNORE, SA_RESTART))
    assert place.stream.write(place.child, [memoryview(b"a")]) == 1


def test_a_stop_key_without_anybody_to_continue(place: Place) -> None:
    place.leader.signals.set_action(signal.SIGTSTP, caught())
    place.tty.signal(signal.SIGTSTP)
    assert not place.leader.pending


def test_its_end(place: Place) -> None:
    other = place.tty.open()
    assert isinstance(other, TerminalStream)
    assert other.tty is place.tty
    other.retain()
    other.release()
    place.leader.signals.set_action(signal.SIGHUP, caught())
    place.tty.hang_up()
    assert place.leader.pending == 1 << signal.SIGHUP - 1
    with failing(Errno.ENOTTY):
        place.ask(place.leader, b"tcgetattr")
    with failing(Errno.ENXIO):
        place.tty.open()


def test_a_process_without_a_terminal() -> None:
    with failing(Errno.ENOTTY):
        terminal_commands.controlling_terminal(new_process())
