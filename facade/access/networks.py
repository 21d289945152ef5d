"""
Which networks may call, and which address a call really came from.

Addresses are compared after one normalisation: an IPv4 address that arrives mapped into IPv6
(``::ffff:192.0.2.1``, what a dual-stack socket reports) is the IPv4 address, and a zone (``%eth0``) is dropped.
"""

import ipaddress
from collections.abc import Iterable, Sequence
from functools import lru_cache

from facade.errors import PermissionDenied

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAPPED_PREFIX_LENGTH = 96
"""Bits before the IPv4 part of ``::ffff:0:0/96`` (RFC 4291, section 2.5.5.2)."""

ADDRESSES_REMEMBERED = 4096
"""How many parsed addresses are kept; parsing one costs more than all the rest of a check."""


@lru_cache(maxsize=ADDRESSES_REMEMBERED)
def to_address(text: str) -> Address | None:
    """
    Read an address as sockets and proxies write it.

    Args:
        text: ``192.0.2.1``, ``192.0.2.1:443``, ``2001:db8::1``, ``[2001:db8::1]:443``; blanks and double
            quotes around it don't matter.

    Returns:
        The normalised address, or None if *text* is not one.
    """
    bare = text.strip().strip('"')
    if bare.startswith("["):
        bare, closed, after = bare[1:].partition("]")
        if not closed or (after and not _is_port(after)):
            return None
    elif bare.count(":") == 1:
        host, colon, port = bare.partition(":")
        if not _is_port(colon + port):
            return None
        bare = host
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdigit()


def to_network(text: str) -> Network:
    """
    Read a network in CIDR notation; a bare address is the network of that one address.

    Args:
        text: ``10.0.0.0/8``, ``2001:db8::/32``, ``192.0.2.1``.

    Returns:
        The network, as IPv4 where it lies within ``::ffff:0:0/96``.

    Raises:
        ValueError: If it is not one, or has bits set beyond its prefix.
    """
    network = ipaddress.ip_network(text.strip())
    if isinstance(network, ipaddress.IPv6Network) and network.prefixlen >= MAPPED_PREFIX_LENGTH:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return ipaddress.IPv4Network((mapped, network.prefixlen - MAPPED_PREFIX_LENGTH))
    return network


class NetworkSet:
    """
    Networks, arranged so that looking an address up costs one probe for each prefix length in use.

    Args:
        networks: CIDR texts or networks.

    Raises:
        ValueError: If a text is not a network.
    """

    def __init__(self, networks: Iterable[str | Network] = ()) -> None:
        self.networks: tuple[Network, ...] = tuple(
            to_network(network) if isinstance(network, str) else network for network in networks
        )
        grouped: dict[tuple[int, int], set[int]] = {}
        for network in self.networks:
            shift = network.max_prefixlen - network.prefixlen
            grouped.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._probes: dict[int, list[tuple[int, set[int]]]] = {4: [], 6: []}
        for (version, shift), members in grouped.items():
            self._probes[version].append((shift, members))

    def __contains__(self, address: Address) -> bool:
        number = int(address)
        return any(number >> shift in members for shift, members in self._probes[address.version])

    def __bool__(self) -> bool:
        return bool(self.networks)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NetworkSet) and set(self.networks) == set(other.networks)

    def __hash__(self) -> int:
        return hash(frozenset(self.networks))

    def __repr__(self) -> str:
        return f"NetworkSet({[str(network) for network in self.networks]})"


class NetworkList:
    """
    The global list: who may knock at all.

    Args:
        allow: CIDR texts; if there are any, an address must be in one of them.

        deny: CIDR texts; an address in one of them is refused even if *allow* has it.

    Raises:
        ValueError: If a text is not a network.
    """

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        self.allow = NetworkSet(allow)
        self.deny = NetworkSet(deny)

    def permits(self, address: Address | None) -> bool:
        """
        Decide about one address.

        Args:
            address: From `client_address`; None if it couldn't be told, which only an empty list lets in.

        Returns:
            Whether it may call.
        """
        if address is None:
            return not self.allow and not self.deny
        if self.deny and address in self.deny:
            return False
        return not self.allow or address in self.allow

    def check(self, address: Address | None) -> None:
        """
        Refuse an address that may not call.

        Args:
            address: From `client_address`.

        Raises:
            PermissionDenied: If the lists don't let it in.
        """
        if not self.permits(address):
            raise PermissionDenied("Calls from this network are not allowed.", code="network_not_allowed")


def client_address(
    peer: str | None,
    forwarded_for: str | Sequence[str] | None,
    trusted_proxies: NetworkSet,
) -> Address | None:
    """
    Tell who is calling: the first address, from the nearest outwards, that is not a trusted proxy.

    Each proxy appends the address it was called from, so the list is true from the right as far as trusted
    proxies wrote it; anything further left may be invented by the caller.

    Args:
        peer: The other end of the connection, as the socket tells it; None on a Unix socket.

        forwarded_for: Value of ``X-Forwarded-For``, or the values of all such headers in their order.

        trusted_proxies: Whose word is believed. Empty: the header is ignored.

    Returns:
        The address, or None if *peer* is not an address. A malformed entry ends the walk at the proxy that
        reported it.
    """
    current = to_address(peer) if peer is not None else None
    if current is None or not forwarded_for or not trusted_proxies:
        return current
    joined = forwarded_for if isinstance(forwarded_for, str) else ",".join(forwarded_for)
    rest = joined
    while rest and current in trusted_proxies:
        # From the right, one at a time: a long invented list costs nothing beyond its true part.
        rest, _, entry = rest.rpartition(",")
        reported = to_address(entry)
        if reported is None:
            return current
        current = reported
    return current
