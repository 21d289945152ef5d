"""
The façade without callers: the same endpoint over the same use case, and nothing else.

No keys, networks, quotas, deadlines' watch, cache, metrics or log; uvicorn's own HTTP protocol. What the whole façade
costs beyond this is what it does about callers. Run it by uvicorn, with ``PEER_TRITON`` (gRPC endpoint) and
``PEER_CALLS_IN_FLIGHT`` set.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from facade.context import SCOPE_KEY, RequestContext
from facade.inference.catalogue import Catalogue
from facade.inference.encode import Encode
from facade.inference.runner import Limits
from facade.routes import embeddings
from facade.routes.direct import Direct
from facade.triton.client import TritonClient

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

TIMEOUT_S = 30.0
"""Every request's deadline, in seconds, as the façade has it by default."""


def _forget_stage(_stage: str, _seconds: float) -> None:
    """Nobody measures stages here."""


class PlainFacade:
    """The application; all parts are made when uvicorn's loop runs."""

    def __init__(self) -> None:
        self._direct: ASGIApp = _answer_health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or begin and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        context = RequestContext("plain", dict(scope["headers"]))
        context.deadline = asyncio.get_running_loop().time() + TIMEOUT_S
        scope[SCOPE_KEY] = context
        await self._direct(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        triton = TritonClient(os.environ["PEER_TRITON"])
        catalogue = Catalogue(triton, 1.0)
        limits = Limits(calls_in_flight=int(os.environ["PEER_CALLS_IN_FLIGHT"]))
        encode = Encode(triton, catalogue, limits=limits)
        await catalogue.refresh()
        following = asyncio.create_task(catalogue.follow())
        endpoint = embeddings.build_endpoint(encode, _forget_stage)
        self._direct = Direct(_answer_health, {"/v1/embeddings": endpoint})
        await send({"type": "lifespan.startup.complete"})
        await receive()
        following.cancel()
        await encode.aclose()
        await triton.aclose()
        await send({"type": "lifespan.shutdown.complete"})


async def _answer_health(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


app = PlainFacade()
