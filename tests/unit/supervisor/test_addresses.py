from __future__ import annotations

import pytest

from balenawasm.supervisor.addresses import AddressError, allot, free_subnet, hosts_text


def test_the_lowest_free_subnet() -> None:
    assert free_subnet(()) == 1
    assert free_subnet({1, 2, 4}) == 3
    with pytest.raises(AddressError):
        free_subnet(range(1 << 16))


def test_addresses_are_stable_and_never_reused() -> None:
    first = allot(1, {}, ["web", "api"])
    assert first == {"web": "10.0.1.2", "api": "10.0.1.3"}
    assert allot(1, first, ["db", "web"]) == {**first, "db": "10.0.1.4"}
    assert allot(0x1234, {}, ["a"]) == {"a": "10.18.52.2"}


def test_a_subnet_can_be_full() -> None:
    names = [f"s{number}" for number in range(253)]
    assert len(set(allot(1, {}, names).values())) == 253
    with pytest.raises(AddressError):
        allot(1, {}, [*names, "one-more"])


def test_the_hosts_file() -> None:
    assert hosts_text({"web": "10.0.1.3", "api": "10.0.1.2"}) == "10.0.1.2\tapi\n10.0.1.3\tweb\n"
