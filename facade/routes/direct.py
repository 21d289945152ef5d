"""
The short way for the routes that do inference: from the last middleware straight to the endpoint.

FastAPI's and Starlette's own layers (two exit stacks, two exception wrappers, a walk over the routers, a `Request`, a
`Response`) took 45 % of the CPU of an answer from memory, and did nothing that such a route needs: it takes a whole
body and gives a whole body. FastAPI has the same endpoints, for the documentation and for everything unusual.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fastapi import Request, Response

from facade.context import context_of
from facade.errors import CallerLeft
from facade.schemas import to_openapi_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import APIRouter
    from starlette.types import ASGIApp, Receive, Scope, Send

    from facade.context import RequestContext


class Endpoint(Protocol):
    """Answers a request that has a body, with JSON."""

    async def __call__(self, context: RequestContext, body: bytes) -> bytes:
        """
        Answer one request.

        Args:
            context: Who asks.

            body: The whole body.

        Returns:
            JSON; the status is 200.

        Raises:
            FacadeError: If there is no such answer.
        """


class _Route(NamedTuple):
    """Stands where FastAPI's route object would: its path is the metrics' label."""

    path: str


class Direct:
    """
    Hand POST requests for some exact paths to their endpoints, and all others on.

    Args:
        app: FastAPI.

        endpoints: By path.
    """

    def __init__(self, app: ASGIApp, endpoints: Mapping[str, Endpoint]) -> None:
        self._app = app
        self._endpoints = {path: (endpoint, _Route(path)) for path, endpoint in endpoints.items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = self._endpoints.get(scope["path"]) if scope["type"] == "http" else None
        if found is None or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        endpoint, scope["route"] = found
        content = await endpoint(context_of(scope), await read_body(receive))
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})


def add_documented(
    router: APIRouter, path: str, endpoint: Endpoint, *, wire_model: type[Any], about: str
) -> None:
    """
    Add an endpoint to FastAPI's router as well: for the documentation, and for whatever doesn't come the short way.

    Args:
        router: Where to add it.

        path: The exact path that `Direct` has it under.

        endpoint: What answers.

        wire_model: The `msgspec.Struct` of its body.

        about: What it does, in a sentence, for the documentation.
    """

    async def answer(request: Request) -> Response:
        content = await endpoint(context_of(request.scope), await request.body())
        return Response(content, media_type="application/json")

    router.add_api_route(
        path,
        answer,
        methods=["POST"],
        name=path.rpartition("/")[2],
        description=about,
        openapi_extra=to_openapi_body(wire_model),
    )


async def read_body(receive: Receive) -> bytes:
    """
    Read a request's whole body.

    Args:
        receive: The layer above.

    Returns:
        The body.

    Raises:
        CallerLeft: If the caller closed the connection before it was whole.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body", False):
        body: bytes = message.get("body", b"")
        return body
    parts = []
    while message["type"] == "http.request":
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)
        message = await receive()
    raise CallerLeft("The caller closed the connection before the body was whole.")
