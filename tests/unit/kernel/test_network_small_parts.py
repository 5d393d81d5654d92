"""Grants, the hosts file, the port table, name lookup in a helper thread."""

from __future__ import annotations

import os
import socket
import threading

import pytest
from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.network_hosts import HostsFile
from balenawasm.kernel.network_policy import BadGrantError, Grant, OutboundPolicy, parse_grant
from balenawasm.kernel.network_ports import PortTable
from balenawasm.kernel.network_resolver import MOST_AT_ONCE, OutsideResolver
from balenawasm.kernel.outcome import Killed
from balenawasm.vfs.endpoint import (
    ANY,
    LOOPBACK,
    Endpoint,
    LocalName,
    numeric,
    parse_endpoint,
    parse_local_name,
    split_destination,
    unmapped,
)
from balenawasm.wasi.errno import Errno, GuestError


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("tcp://example.org:443", Grant("example.org", 443)),
        ("Example.org:80", Grant("example.org", 80)),
        ("192.0.2.1:*", Grant("192.0.2.1", 0)),
        ("*:53", Grant("*", 53)),
        ("all", Grant("*", 0, "")),
        ("udp://1.1.1.1:53", Grant("1.1.1.1", 53, "udp")),
        ("tcp://[2001:DB8:0::1]:443", Grant("2001:db8::1", 443)),
        ("udp://[::1]:*", Grant("::1", 0, "udp")),
    ],
)
def test_grants(text, grant) -> None:
    assert parse_grant(text) == grant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org",
        "tcp://:80",
        "a:0",
        "a:65536",
        "a:x",
        "icmp://a:1",
        "[::1:5",
        "tcp://[x]:1",
        "::1:80",
        "a b:1",
        "a:²",
    ],
)
def test_bad_grants(text) -> None:
    with pytest.raises(BadGrantError):
        parse_grant(text)


def test_policy_denies_unless_granted() -> None:
    assert not OutboundPolicy().allows({"192.0.2.1"}, 80)
    policy = OutboundPolicy.from_texts(["tcp://example.org:443"])
    assert policy.allows({"192.0.2.1", "example.org"}, 443)
    assert not policy.allows({"192.0.2.1", "example.org"}, 80)
    assert not policy.allows({"192.0.2.1"}, 443)
    assert policy.may_look_up("example.org")
    assert not policy.may_look_up("sub.example.org")


def test_hosts_file_is_read_again_when_replaced(tmp_path) -> None:
    path = tmp_path / "hosts"
    hosts = HostsFile(path)
    assert hosts.addresses("api") == []
    path.write_text("# comment\n10.1.0.2 Web web.project # here\n::1 six\nnonsense\n10.1.0.3 api\n")
    assert hosts.addresses("web") == ["10.1.0.2"]
    assert hosts.names("10.1.0.2") == ["Web", "web.project"]
    assert hosts.addresses("six") == ["::1"]
    new = tmp_path / "new"
    new.write_text("10.1.0.9 api\n")
    os.replace(new, path)
    assert hosts.addresses("api") == ["10.1.0.9"]
    path.unlink()
    assert hosts.addresses("api") == []


def test_ports_conflict_as_on_linux() -> None:
    ports = PortTable()
    first = ports.reserve(Endpoint(ANY, 80), reuse=False)
    for host in (ANY, LOOPBACK, "10.1.0.2"):
        with pytest.raises(GuestError) as error:
            ports.reserve(Endpoint(host, 80), reuse=True)
        assert error.value.errno is Errno.EADDRINUSE
    ports.release(first)
    one = ports.reserve(Endpoint(LOOPBACK, 80), reuse=False)
    ports.reserve(Endpoint("10.1.0.2", 80), reuse=False)
    with pytest.raises(GuestError):
        ports.reserve(Endpoint("127.0.0.9", 80), reuse=False)
    ports.release(one)


def test_reuse_lets_bind_but_not_listen_twice() -> None:
    ports = PortTable()
    first = ports.reserve(Endpoint(ANY, 80), reuse=True)
    second = ports.reserve(Endpoint(ANY, 80), reuse=True)
    ports.start_listening(first)
    with pytest.raises(GuestError):
        ports.start_listening(second)
    with pytest.raises(GuestError):
        ports.reserve(Endpoint(ANY, 80), reuse=True)


def test_ephemeral_ports_differ() -> None:
    ports = PortTable()
    reserved = [ports.reserve(Endpoint(ANY, 0), reuse=False) for _ in range(50)]
    assert len({r.endpoint.port for r in reserved}) == 50
    assert all(r.endpoint.port >= 32768 for r in reserved)


@pytest.mark.parametrize("text", [b"", b"1.2.3.4", b"!", b"a!80", b"1.2.3.4!65536", b"1.2.3.4!-1"])
def test_bad_endpoints(text) -> None:
    with pytest.raises(GuestError) as error:
        parse_endpoint(text)
    assert error.value.errno is Errno.EINVAL


def test_endpoints() -> None:
    assert parse_endpoint(b"!80") == parse_endpoint(b"*!80") == (ANY, 80)
    assert str(parse_endpoint(b"10.0.0.1!80")) == "10.0.0.1!80"
    assert split_destination(b"api!80") == ("api", 80)
    assert numeric("api") is None
    assert parse_endpoint(b"0:0::1!80") == ("::1", 80)
    assert numeric("::ffff:10.0.0.1") == "::ffff:10.0.0.1"
    assert numeric("fe80::1%eth0") is None
    assert unmapped("::ffff:10.0.0.1") == "10.0.0.1"
    assert unmapped("::ffff:1:2") == "::ffff:1:2"
    assert parse_local_name(b"2f61") == LocalName(b"/a")
    for text in (b"2", b"zz", b"61" * 108, b"2f00"):
        with pytest.raises(GuestError) as error:
            parse_local_name(text)
        assert error.value.errno is Errno.EINVAL
    with pytest.raises(GuestError):
        split_destination(b"a" * 254 + b"!80")


def test_resolver_answers_and_maps_errors() -> None:
    def look_up(name: str, family: str) -> list[str]:
        if name == "ok":
            return ["192.0.2.1"]
        raise socket.gaierror(socket.EAI_AGAIN if name == "later" else socket.EAI_NONAME, "no")

    resolver = OutsideResolver(look_up)
    process = new_process()
    assert resolver.addresses(process, "ok") == ["192.0.2.1"]
    for name, errno in (("later", Errno.EAGAIN), ("never", Errno.ENOENT)):
        with pytest.raises(GuestError) as error:
            resolver.addresses(process, name)
        assert error.value.errno is errno


def test_kill_interrupts_a_lookup_and_lookups_are_capped() -> None:
    release = threading.Event()
    started = threading.Semaphore(0)

    def look_up(name: str, family: str) -> list[str]:
        started.release()
        release.wait(LONG)
        return []

    resolver = OutsideResolver(look_up)
    processes = [new_process(pid) for pid in range(1, MOST_AT_ONCE + 1)]
    try:
        futures = [in_thread(lambda p=p: resolver.addresses(p, "x")) for p in processes]
        for _ in processes:
            assert started.acquire(timeout=LONG)
        with pytest.raises(GuestError) as error:
            resolver.addresses(new_process(99), "x")
        assert error.value.errno is Errno.EAGAIN
        for process, future in zip(processes, futures, strict=True):
            process.signal(9)
            assert isinstance(future.exception(LONG), Killed)
    finally:
        release.set()
