"""Which networks may call, and which address a call came from."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.access.networks import NetworkList, NetworkSet, client_address, to_address, to_network
from facade.errors import PermissionDenied


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        (" 192.0.2.1:443 ", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ('"[2001:db8::1]:443"', "2001:db8::1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("[::ffff:192.0.2.1]:80", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::1"),
    ],
)
def test_addresses_are_read_with_ports_brackets_and_mapping(text: str, expected: str) -> None:
    """Every spelling of an address is the same address."""
    assert str(to_address(text)) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "unknown",
        "_hidden",
        "1.2.3",
        "1.2.3.4:",
        "1.2.3.4:x",
        "1.2.3.4:²",
        "[::1",
        "[::1]x",
        "::1]",
        "[1.2.3.4]5",
    ],
)
def test_what_is_no_address_is_told_apart(text: str) -> None:
    """Malformed text is None and never an exception."""
    assert to_address(text) is None


@given(st.text(max_size=40))
def test_no_text_makes_reading_an_address_fail(text: str) -> None:
    """Whatever a caller writes into a header, reading it ends in an address or None."""
    address = to_address(text)
    assert address is None or to_address(str(address)) == address


def test_a_mapped_network_is_the_ipv4_network() -> None:
    """A network within ::ffff:0:0/96 holds IPv4 addresses, and a wider one stays IPv6."""
    assert to_network("::ffff:10.0.0.0/104") == ipaddress.ip_network("10.0.0.0/8")
    assert to_network("::/0") == ipaddress.ip_network("::/0")
    with pytest.raises(ValueError, match="host bits"):
        to_network("10.0.0.1/8")


NETWORKS = st.builds(
    lambda number, length: ipaddress.ip_network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)


@given(st.lists(NETWORKS, max_size=8), st.integers(0, 2**32 - 1))
def test_a_set_holds_exactly_what_its_networks_hold(
    networks: list[ipaddress.IPv4Network], number: int
) -> None:
    """Looking up by prefix length answers as looking through all networks does."""
    address = ipaddress.IPv4Address(number)
    assert (address in NetworkSet(networks)) == any(address in network for network in networks)


def test_versions_do_not_meet() -> None:
    """An IPv6 address of the same number is not in an IPv4 network."""
    networks = NetworkSet(["0.0.0.0/0"])
    assert ipaddress.ip_address("10.0.0.1") in networks
    assert ipaddress.ip_address("::a00:1") not in networks
    assert networks == NetworkSet(["0.0.0.0/0"])
    assert hash(networks) == hash(NetworkSet(["0.0.0.0/0"]))
    assert "0.0.0.0/0" in repr(networks)


def test_denied_wins_and_a_list_allows_nothing_else() -> None:
    """Deny outweighs allow; with an allow list, everything outside it is refused."""
    lists = NetworkList(allow=["10.0.0.0/8", "2001:db8::/32"], deny=["10.6.6.0/24"])
    lists.check(to_address("10.1.2.3"))
    lists.check(to_address("2001:db8::7"))
    for refused in ("10.6.6.6", "192.0.2.1", "2001:db9::1"):
        with pytest.raises(PermissionDenied) as error:
            lists.check(to_address(refused))
        assert error.value.code == "network_not_allowed"


def test_an_unknown_origin_passes_empty_lists_only() -> None:
    """Who can't be told apart isn't let through a list."""
    assert NetworkList().permits(None)
    assert NetworkList().permits(to_address("192.0.2.1"))
    assert not NetworkList(allow=["0.0.0.0/0"]).permits(None)
    assert not NetworkList(deny=["10.0.0.0/8"]).permits(None)


TRUSTED = NetworkSet(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "expected"),
    [
        ("192.0.2.9", "198.51.100.7", "192.0.2.9"),  # an untrusted peer's word counts for nothing
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.7", "198.51.100.7"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.7", "198.51.100.7"),  # what the caller invented
        ("10.0.0.1", "198.51.100.7, 10.0.0.2", "198.51.100.7"),
        ("10.0.0.1", ["6.6.6.6", "198.51.100.7,10.0.0.2"], "198.51.100.7"),  # two headers
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),  # all trusted: the farthest
        ("10.0.0.1", "198.51.100.7, garbage, 10.0.0.2", "10.0.0.2"),  # the last trusted hop
        ("10.0.0.1", "198.51.100.7,", "10.0.0.1"),
        ("::ffff:10.0.0.1", "[2001:db8::1]:50000", "2001:db8::1"),
        ("fd00::1", "198.51.100.7:1234", "198.51.100.7"),
    ],
)
def test_forwarded_addresses_are_believed_from_trusted_proxies_only(
    peer: str, forwarded_for: str | list[str] | None, expected: str
) -> None:
    """The address is the first one from the right that no trusted proxy has."""
    assert str(client_address(peer, forwarded_for, TRUSTED)) == expected


def test_without_a_peer_or_trust_the_header_is_ignored() -> None:
    """A Unix socket's peer is unknown, and nobody is trusted by default."""
    assert client_address(None, "198.51.100.7", TRUSTED) is None
    assert client_address("not an address", "198.51.100.7", TRUSTED) is None
    assert str(client_address("10.0.0.1", "198.51.100.7", NetworkSet())) == "10.0.0.1"
