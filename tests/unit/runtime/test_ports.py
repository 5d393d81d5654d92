from __future__ import annotations

import os
import socket

import pytest

from balenawasm.runtime.ports import PortError, PortInUseError, PublishedPort, bind_port, bind_ports


def published(host_port: int | None = None, **more: str) -> PublishedPort:
    return PublishedPort(container_port=80, host_port=host_port, host_ip="127.0.0.1", **more)


def test_an_unspecified_port_is_chosen_and_listens() -> None:
    bound = bind_port(published())
    try:
        assert bound.host_port > 0
        with socket.create_connection(("127.0.0.1", bound.host_port)):
            connection, _ = bound.socket.accept()
            connection.close()
        assert not bound.socket.get_inheritable()
    finally:
        bound.close()


def test_a_port_in_use_is_named_with_a_way_to_find_the_holder() -> None:
    first = bind_port(published())
    try:
        with pytest.raises(PortInUseError, match=str(first.host_port)) as caught:
            bind_ports([published(), published(first.host_port)])
        assert caught.value.hint is not None
        assert "ss -ltnp" in caught.value.hint
    finally:
        first.close()


def test_a_port_can_be_bound_again_at_once() -> None:
    first = bind_port(published())
    number = first.host_port
    with socket.create_connection(("127.0.0.1", number)):
        first.socket.accept()[0].close()
    first.close()
    bind_port(published(number)).close()


def test_a_udp_port_receives_and_is_nobody_elses() -> None:
    bound = bind_port(published(protocol="udp"))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"hello", ("127.0.0.1", bound.host_port))
            bound.socket.settimeout(30)
            assert bound.socket.recv(100) == b"hello"
        with pytest.raises(PortInUseError) as caught:
            bind_port(published(bound.host_port, protocol="udp"))
        assert "ss -unp" in (caught.value.hint or "")
        bind_port(published(bound.host_port)).close()  # TCP has ports of its own
    finally:
        bound.close()


@pytest.mark.parametrize(
    ("port", "text"),
    [
        (published(70000), "between 0 and 65535"),
        (published(protocol="sctp"), "only tcp and udp"),
        (PublishedPort(container_port=1, host_ip="localhost"), "not an IP address"),
        (PublishedPort(container_port=1, host_ip="203.0.113.1"), "does not have that address"),
    ],
)
def test_what_cannot_be_published(port: PublishedPort, text: str) -> None:
    with pytest.raises(PortError, match=text):
        bind_port(port)


def test_ipv6() -> None:
    try:
        bound = bind_port(PublishedPort(container_port=1, host_ip="[::1]"))
    except PortError:
        pytest.skip("no IPv6 on this host")
    bound.close()


@pytest.mark.skipif(os.getuid() == 0, reason="root may open every port")
def test_a_low_port_needs_a_right() -> None:
    with pytest.raises(PortError, match="may not be opened"):
        bind_port(published(1))
