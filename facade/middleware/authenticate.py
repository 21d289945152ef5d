"""
Who asks? Without a known key, only an exact list of paths is served.

Default deny: a route that somebody adds tomorrow is closed until it is put on the list. (Guarding by path prefix has
left inference open elsewhere.)
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from facade.access.authorize import authorize
from facade.context import context_of
from facade.errors import Unauthenticated

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

    from facade.access.guessing import Guesses
    from facade.access.keys import Key, KeyRing, Tier
    from facade.access.keys import Scope as KeyScope

SCOPES: Mapping[str, KeyScope] = {"/metrics": "metrics"}
"""What a path needs, where that isn't ``infer``."""


GRANTED_KEY = "facade.granted"


class Granted(NamedTuple):
    """Whom a request was let in as; stays so if the key is revoked meanwhile."""

    key: Key
    """The caller's."""

    tier: Tier
    """The key's, of the same ring."""


class Authenticate:
    """
    Deny whoever has no known key.

    Args:
        app: The next layer.

        current_ring: Gives the keys that are known now.

        guesses: Slows down whoever tries keys out.

        public_paths: Exact paths that are served to anybody.

        observe_stage: Told how long it took, in seconds.
    """

    def __init__(
        self,
        app: ASGIApp,
        current_ring: Callable[[], KeyRing],
        guesses: Guesses,
        public_paths: Collection[str],
        observe_stage: Callable[[str, float], None],
    ) -> None:
        self._app = app
        self._current_ring = current_ring
        self._guesses = guesses
        self._public_paths = frozenset(public_paths)
        self._observe_stage = observe_stage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http" and scope["path"] not in self._public_paths:
            started = time.perf_counter()
            self._identify(scope)
            self._observe_stage("authenticate", time.perf_counter() - started)
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope) -> None:
        context = context_of(scope)
        self._guesses.check(context.address)
        secret = find_secret(context.request_headers)
        if secret is None:
            self._guesses.note_failure(context.address)
            raise Unauthenticated(
                "No API key was sent. Send it in the header 'X-API-Key' or as 'Authorization: Bearer <key>'.",
                code="missing_api_key",
            )
        ring = self._current_ring()
        key = ring.find(secret)
        if key is None:
            self._guesses.note_failure(context.address)
            raise Unauthenticated("The API key is not known.")
        context.key_name = key.name
        authorize(key, SCOPES.get(scope["path"], "infer"), address=context.address)
        tier = ring.tier_of(key)
        context.key_models, context.cache_scope = key.models, key.cache
        scope[GRANTED_KEY] = Granted(key, tier)
        context.tier, context.priority, context.weight = tier.name, tier.priority, tier.weight


def granted_of(scope: Scope) -> Granted | None:
    """
    Tell whom a request was let in as.

    Args:
        scope: The ASGI scope, after `Authenticate`.

    Returns:
        Key and tier; None on public paths.
    """
    granted: Granted | None = scope.get(GRANTED_KEY)
    return granted


def find_secret(headers: Mapping[bytes, bytes]) -> str | None:
    """
    Read the key that a request carries.

    Args:
        headers: By lower-case name.

    Returns:
        ``X-API-Key`` if there is one, else the bearer token, else None.
    """
    api_key = headers.get(b"x-api-key")
    if api_key is not None:
        return str(api_key, "latin-1").strip()
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return str(authorization[7:], "latin-1").strip()
    return None
