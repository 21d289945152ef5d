"""
Who asks? Without a known key, only an exact list of paths is served.

Default deny: a route that somebody adds tomorrow is closed until it is put on the list. (Guarding by path prefix has
left inference open elsewhere.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from facade.context import context_of
from facade.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.types import ASGIApp, Receive, Scope, Send


class Known(Protocol):
    """A caller whose key was found."""

    @property
    def name(self) -> str:
        """Who it is, for logs."""


class Ring(Protocol):
    """Something that knows keys."""

    def find(self, secret: str) -> Known | None:
        """
        Find whose key this is, in a time that doesn't depend on how much of it is right.

        Args:
            secret: What the caller sent.

        Returns:
            The caller, or None.
        """


class Authenticate:
    """
    Deny whoever has no known key.

    Args:
        app: The next layer.

        ring: Who is known.

        public_paths: Exact paths that are served to anybody.
    """

    def __init__(self, app: ASGIApp, ring: Ring, public_paths: Collection[str]) -> None:
        self._app = app
        self._ring = ring
        self._public_paths = frozenset(public_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] not in self._public_paths:
            secret = find_secret(scope)
            if secret is None:
                raise Unauthenticated(
                    "No API key was sent. Send it in the header 'X-API-Key' or as 'Authorization: Bearer <key>'.",
                    code="missing_api_key",
                )
            known = self._ring.find(secret)
            if known is None:
                raise Unauthenticated("The API key is not known.")
            context_of(scope).key_name = known.name
        await self._app(scope, receive, send)


def find_secret(scope: Scope) -> str | None:
    """
    Read the key that a request carries.

    Args:
        scope: The ASGI scope.

    Returns:
        ``X-API-Key`` if there is one, else the bearer token, else None.
    """
    bearer = None
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            return str(value, "latin-1").strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = str(value[7:], "latin-1").strip()
    return bearer
