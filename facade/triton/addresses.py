"""
Where the Tritons are: a fixed list, or a name whose addresses come and go.

A name with the scheme ``dns:///`` stands for all of its addresses, and is resolved again and again. Without the scheme
a name is one endpoint, which gRPC resolves by itself: a Service that balances on its own, or a container's name.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

DNS_SCHEME = "dns:///"
"""What a name begins with that stands for all of its addresses (gRPC's own word: grpc, doc/naming.md)."""

RESOLVE_INTERVAL_S = 5.0
"""
Seconds between two looks at a name: so long CoreDNS's kubernetes plugin lets its answers live by default, and many
clusters longer, so that looking more often would see the same ones.
"""


class AddressSource(Protocol):
    """Knows the addresses of all Tritons."""

    @property
    def interval_s(self) -> float | None:
        """Seconds until it is worth asking again; None where the answer stays."""

    async def find(self) -> tuple[str, ...]:
        """
        Find the addresses.

        Returns:
            Each as ``host:port``, none twice.

        Raises:
            OSError: If nobody can tell now.
        """


@dataclass(frozen=True, slots=True)
class FixedAddresses:
    """Addresses that an operator listed."""

    addresses: tuple[str, ...]
    """Each as ``host:port``, none twice."""

    interval_s: None = None
    """They stay."""

    async def find(self) -> tuple[str, ...]:
        """Give them."""
        return self.addresses


@dataclass(frozen=True, slots=True)
class DnsAddresses:
    """All addresses of a name."""

    host: str
    """The name."""

    port: int
    """The port, the same at all addresses."""

    interval_s: float = RESOLVE_INTERVAL_S
    """Seconds between two looks."""

    async def find(self) -> tuple[str, ...]:
        """Ask the system's resolver, which knows ``/etc/hosts`` too; see `AddressSource.find`."""
        found = await asyncio.get_running_loop().getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return one_family([(family, str(address[0])) for family, _, _, _, address in found], self.port)


def one_family(found: Sequence[tuple[int, str]], port: int) -> tuple[str, ...]:
    """
    Keep addresses of one family: a server with two of them is one endpoint and not two.

    Args:
        found: Address families and addresses.

        port: The port of all.

    Returns:
        The addresses of the family that has more of them, IPv4's if both have as many; sorted, none twice.
    """
    by_family = {
        family: sorted({address for kind, address in found if kind == family})
        for family in (socket.AF_INET, socket.AF_INET6)
    }
    if len(by_family[socket.AF_INET6]) > len(by_family[socket.AF_INET]):
        return tuple(f"[{address}]:{port}" for address in by_family[socket.AF_INET6])
    return tuple(f"{address}:{port}" for address in by_family[socket.AF_INET])


def parse_url(url: str) -> AddressSource:
    """
    Read what an operator wrote into ``FACADE_TRITON_URL``.

    Args:
        url: ``host:port``, several of them with commas between, or ``dns:///host:port``.

    Returns:
        Who knows the addresses.

    Raises:
        ValueError: If it is none of these.
    """
    if url.startswith(DNS_SCHEME):
        host, colon, port = url.removeprefix(DNS_SCHEME).rpartition(":")
        if not (host and colon and port.isdecimal()):
            raise ValueError(f"{url!r} is not of the form dns:///host:port")
        return DnsAddresses(host.strip("[]"), int(port))
    addresses = tuple(dict.fromkeys(part.strip() for part in url.split(",") if part.strip()))
    if not addresses:
        raise ValueError("it names no endpoint")
    return FixedAddresses(addresses)
