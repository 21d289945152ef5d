"""How much may this caller still use? Inference takes a place and is charged with the tokens it turned out to have."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from facade.context import context_of
from facade.errors import RateLimited
from facade.middleware.authenticate import granted_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from facade.access.quotas import Quotas


class Quota:
    """
    Hold a lease while a request that does inference is under way.

    Args:
        app: The next layer.

        quotas: Who counts.

        observe_stage: Told how long it took, in seconds.

        observe_refusal: Told the tier of each refused request.
    """

    def __init__(
        self,
        app: ASGIApp,
        quotas: Quotas,
        observe_stage: Callable[[str, float], None],
        observe_refusal: Callable[[str], None],
    ) -> None:
        self._app = app
        self._quotas = quotas
        self._observe_stage = observe_stage
        self._observe_refusal = observe_refusal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        # Looking at lists costs the caller nothing: only what can reach a model is a POST.
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        granted = granted_of(scope)
        if granted is None:  # a public path
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        started = time.perf_counter()
        try:
            lease = await self._quotas.admit(granted.key, granted.tier)
        except RateLimited:
            self._observe_refusal(context.tier)
            raise
        finally:
            self._observe_stage("quota", time.perf_counter() - started)
        context.headers.update(lease.headers())
        try:
            await self._app(scope, receive, send)
        finally:
            await lease.release(context.tokens)
