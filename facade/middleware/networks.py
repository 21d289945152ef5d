"""From where? Addresses that may not call at all are refused before anything is said about keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facade.access.networks import client_address
from facade.context import context_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

    from facade.access.networks import NetworkList, NetworkSet


class Networks:
    """
    Find out where a caller is, and refuse the networks that the lists don't let in.

    Args:
        app: The next layer.

        listed: The global allow and deny lists.

        trusted_proxies: Whose ``X-Forwarded-For`` is believed.

        public_paths: Exact paths that any network may ask; probes come from anywhere in a cluster.
    """

    def __init__(
        self, app: ASGIApp, listed: NetworkList, trusted_proxies: NetworkSet, public_paths: Collection[str]
    ) -> None:
        self._app = app
        self._listed = listed
        self._trusted_proxies = trusted_proxies
        self._public_paths = frozenset(public_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            context = context_of(scope)
            peer = scope.get("client")
            context.address = client_address(
                peer[0] if peer else None, self._forwarded_for(scope), self._trusted_proxies
            )
            if scope["path"] not in self._public_paths:
                self._listed.check(context.address)
        await self._app(scope, receive, send)

    def _forwarded_for(self, scope: Scope) -> list[str] | None:
        if not self._trusted_proxies:
            return None
        return [str(value, "latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
