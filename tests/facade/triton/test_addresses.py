"""Where the Tritons are: what an operator may write, and names that are resolved."""

from __future__ import annotations

import socket

import pytest

from facade.triton.addresses import DnsAddresses, FixedAddresses, one_family, parse_url


def test_a_list_keeps_its_order_and_drops_doubles() -> None:
    """Spaces and empty parts don't matter."""
    assert parse_url("a:1, b:2,,a:1") == FixedAddresses(("a:1", "b:2"))


def test_a_name_without_a_scheme_is_one_endpoint() -> None:
    """GRPC resolves it by itself, as it always did."""
    assert parse_url("triton:8001") == FixedAddresses(("triton:8001",))


@pytest.mark.parametrize("url", ["dns:///triton:8001", "dns:///[::1]:8001"])
def test_a_name_with_the_scheme_is_all_of_its_addresses(url: str) -> None:
    """The port is the same for all."""
    found = parse_url(url)

    assert isinstance(found, DnsAddresses)
    assert found.port == 8001
    assert found.host in {"triton", "::1"}


@pytest.mark.parametrize("url", ["dns:///triton", "dns:///:8001", "dns:///triton:x", "", " , "])
def test_what_names_no_endpoint_is_refused(url: str) -> None:
    """At the start, and not at the first call."""
    with pytest.raises(ValueError, match=r"endpoint|form"):
        parse_url(url)


def test_a_server_with_two_families_is_one_endpoint() -> None:
    """IPv4 unless there are more of the other."""
    v4, v6 = (socket.AF_INET, "10.0.0.1"), (socket.AF_INET6, "fd00::1")

    assert one_family([v6, v4, v4], 1) == ("10.0.0.1:1",)
    assert one_family([v6, v4, (socket.AF_INET6, "fd00::2")], 1) == ("[fd00::1]:1", "[fd00::2]:1")
    assert one_family([], 1) == ()


@pytest.mark.anyio
async def test_the_systems_resolver_is_asked() -> None:
    """An address needs no name service."""
    assert await DnsAddresses("127.0.0.3", 8001).find() == ("127.0.0.3:8001",)
