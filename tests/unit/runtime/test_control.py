from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from balenawasm.runtime import control
from balenawasm.runtime.jsonform import FormError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from balenawasm.runtime.control import Channel

Pair = tuple["Channel", "Channel"]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = control.make_pair()
    yield left, right
    left.close()
    right.close()


MESSAGES = [
    control.Start(id="a"),
    control.Exec(argv=(b"\xff", b"x"), env=(b"A=1",), cwd=b"/"),
    control.Signal(signal=15, target=control.Target.ALL),
    control.Status(
        id="a",
        processes=(control.ProcessStatus(pid=1, argv=(b"x",), memory=65536),),
        resident=1,
    ),
    control.Failed(message="no", hint=None),
    control.Wait(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_messages_survive_the_channel(pair: Pair, message: control.Message) -> None:
    pair[0].send(message)
    assert pair[1].receive() == (message, [])


def test_fds_travel_with_their_message(pair: Pair) -> None:
    reader, writer = os.pipe()
    pair[0].send(control.Start(id="a"), [writer])
    os.close(writer)
    received = pair[1].receive()
    assert received is not None
    (fd,) = received[1]
    assert not os.get_inheritable(fd)
    os.write(fd, b"x")
    control.close_all([fd])
    assert os.read(reader, 2) == b"x"
    os.close(reader)


def test_the_end_is_none_and_sending_then_is_an_error(pair: Pair) -> None:
    pair[0].close()
    assert pair[1].receive() is None
    with pytest.raises(control.ControlError):
        pair[1].send(control.Wait())


def test_a_nonblocking_channel_says_so(pair: Pair) -> None:
    pair[1].socket.setblocking(False)
    with pytest.raises(BlockingIOError):
        pair[1].receive()


@pytest.mark.parametrize(
    "data",
    [b"x", b"[]", b"{}", b'{"type":"nothing"}', b'{"type":["Start"]}', b'{"type":"Start"}'],
)
def test_what_is_no_message_is_refused_and_its_fds_closed(pair: Pair, data: bytes) -> None:
    reader, writer = os.pipe()
    socket.send_fds(pair[0].socket, [data], [writer])
    os.close(writer)
    with pytest.raises((control.ControlError, FormError)):
        pair[1].receive()
    assert os.read(reader, 1) == b""
    os.close(reader)


def test_large_messages_are_refused_on_both_sides(pair: Pair) -> None:
    with pytest.raises(control.ControlError, match="too large"):
        pair[0].send(control.Exec(argv=(b"x" * control.MAX_MESSAGE,)))
    pair[0].socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    fits = control.Exec(argv=(b"x" * (control.MAX_MESSAGE - 200),))
    pair[0].send(fits)
    assert pair[1].receive() == (fits, [])


def test_too_many_fds_are_cut_and_refused(pair: Pair) -> None:
    with pytest.raises(control.ControlError, match="too large"):
        pair[0].send(control.Wait(), [0] * (control.MAX_FDS + 1))
    fds = [os.dup(0) for _ in range(control.MAX_FDS + 8)]
    socket.send_fds(pair[0].socket, [b'{"type":"Wait"}'], fds)
    control.close_all(fds)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(control.ControlError, match="cut short"):
        pair[1].receive()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_socket_in_a_deep_directory(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    with control.listen(deep / "control") as listener:
        client = control.connect(deep / "control")
        accepted, _ = listener.accept()
        server = control.Channel(accepted)
        thread = threading.Thread(target=client.send, args=(control.Wait(),))
        thread.start()
        assert server.receive() == (control.Wait(), [])
        thread.join()
        client.close()
        server.close()
    with control.listen(deep / "control"):
        pass
    with pytest.raises(control.ControlError, match="nothing answers"):
        control.connect(deep / "control")
