"""Which of the two ways to Triton is taken: one client for one fixed endpoint, a pool for all else."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from facade.triton.addresses import DnsAddresses, FixedAddresses, parse_url
from facade.triton.channel import read_credentials
from facade.triton.client import TritonClient
from facade.triton.pool import EndpointPool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from facade.triton.channel import TlsFiles
    from facade.triton.pool import PoolObserver


def open_backend(
    url: str,
    *,
    observer: PoolObserver,
    has_hedges: bool,
    interceptors: Sequence[Any] = (),
    tls: TlsFiles | None = None,
) -> TritonClient | EndpointPool:
    """
    Make what calls Triton.

    Args:
        url: One or more endpoints, as `parse_url` reads them.

        observer: Told of endpoints and attempts.

        has_hedges: Whether calls that take longer than 95 of 100 get a second copy.

        interceptors: What sees every gRPC call, such as tracing.

        tls: Certificates for TLS; None for none.

    Returns:
        The backend; nothing is connected yet.

    Raises:
        ValueError: If the URL is of no form that we know.

        TlsUnusable: If a certificate can't be used.
    """
    source = parse_url(url)
    connect = partial(
        TritonClient,
        interceptors=interceptors,
        credentials=None if tls is None else read_credentials(tls),
        server_name=source.host if isinstance(source, DnsAddresses) else None,
    )
    if isinstance(source, FixedAddresses) and len(source.addresses) == 1:
        return connect(source.addresses[0])
    return EndpointPool(source, connect, observer=observer, has_hedges=has_hedges)
