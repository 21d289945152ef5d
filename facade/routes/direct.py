"""
The short way for the routes that do inference: from the last middleware straight to the endpoint.

FastAPI's and Starlette's own layers (two exit stacks, two exception wrappers, a walk over the routers, a `Request`, a
`Response`) took 45 % of the CPU of an answer from memory, and did nothing that such a route needs: it takes a whole
body and gives a whole one, or a stream of events. FastAPI has the same endpoints, for the documentation and for
everything unusual.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fastapi import APIRouter, Request, Response
from starlette.responses import StreamingResponse

from facade.context import context_of
from facade.errors import CallerLeft, FacadeError, RouteNotFound
from facade.problems import to_frame
from facade.schemas import to_openapi_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping
    from enum import Enum

    from starlette.types import ASGIApp, Receive, Scope, Send

    from facade.context import RequestContext


class EventStream(NamedTuple):
    """
    An answer that is sent while it is made, as server-sent events.

    An error among the frames ends the stream with one more frame, in the error shape of the surface (`problems`).
    """

    frames: AsyncIterator[bytes]
    """Whole events, each with the empty line behind it."""


class Content(NamedTuple):
    """A whole answer that isn't just JSON."""

    body: bytes
    """The answer."""

    media_type: str
    """Its ``Content-Type``."""

    headers: Mapping[str, str]
    """Further headers that describe it."""


class Endpoint(Protocol):
    """Answers a request that has a body, with JSON or with events."""

    async def __call__(self, context: RequestContext, body: bytes) -> bytes | Content | EventStream:
        """
        Answer one request.

        Args:
            context: Who asks.

            body: The whole body.

        Returns:
            JSON, something else that is whole, or a stream whose first frame is certain to come; the status is 200.

        Raises:
            FacadeError: If there is no such answer.
        """


TURN_FRAMES = 32
"""
Frames after which others get their turn, about 1 ms of a core. A stored answer waits for nothing between its frames,
and the largest, of 8,000, would hold all other requests up for a third of a second.
"""

EVENT_STREAM_HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    # nginx holds answers back until it has 4 or 8 KiB of them, unless told not to.
    "x-accel-buffering": "no",
}

_RAW_STREAM_HEADERS = [(name.encode(), value.encode()) for name, value in EVENT_STREAM_HEADERS.items()]


def first_of(
    *finders: Callable[[str], tuple[Endpoint, str] | None],
) -> Callable[[str], tuple[Endpoint, str] | None]:
    """
    Make one look-up of several.

    Args:
        finders: Each gives a path's endpoint and its template; None for other paths.

    Returns:
        Gives what the first of them finds.
    """

    def find(path: str) -> tuple[Endpoint, str] | None:
        return next((found for finder in finders if (found := finder(path)) is not None), None)

    return find


class _Route(NamedTuple):
    """Stands where FastAPI's route object would: its path is the metrics' label."""

    path: str


class Direct:
    """
    Hand POST requests for some paths to their endpoints, and all others on.

    Args:
        app: FastAPI.

        endpoints: By exact path.

        find_endpoint: Gives the endpoint and the template of another path; None if that isn't ours.
    """

    def __init__(
        self,
        app: ASGIApp,
        endpoints: Mapping[str, Endpoint],
        find_endpoint: Callable[[str], tuple[Endpoint, str] | None] = lambda _: None,
    ) -> None:
        self._app = app
        self._endpoints = {path: (endpoint, _Route(path)) for path, endpoint in endpoints.items()}
        self._find_endpoint = find_endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        found = self._find(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        endpoint, scope["route"] = found
        content = await endpoint(context_of(scope), await read_body(receive))
        if isinstance(content, EventStream):
            await _send_events(content, send)
            return
        if isinstance(content, Content):
            media_type, further = content.media_type.encode(), content.headers
            content = content.body
        else:
            media_type, further = b"application/json", {}
        headers = [(b"content-type", media_type), (b"content-length", b"%d" % len(content))]
        headers += [(name.encode(), value.encode()) for name, value in further.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _find(self, path: str) -> tuple[Endpoint, _Route] | None:
        found = self._endpoints.get(path)
        if found is not None:
            return found
        other = self._find_endpoint(path)
        return None if other is None else (other[0], _Route(other[1]))


async def _send_events(stream: EventStream, send: Send) -> None:
    """Send an answer while it is made. What goes wrong goes up to the layer that answers for errors."""
    await send({"type": "http.response.start", "status": 200, "headers": list(_RAW_STREAM_HEADERS)})
    sent = 0
    async for frame in stream.frames:
        await send({"type": "http.response.body", "body": frame, "more_body": True})
        sent += 1
        if sent % TURN_FRAMES == 0:
            await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b""})


class Documented(NamedTuple):
    """What FastAPI's documentation says of an endpoint of the short way."""

    path: str
    """The exact path."""

    tag: str
    """The surface that it belongs to."""

    wire_model: type[Any]
    """The `msgspec.Struct` of its body."""

    about: str
    """What it does, in a sentence."""


def build_documented_router(endpoints: Mapping[str, Endpoint], documented: Iterable[Documented]) -> APIRouter:
    """
    Make FastAPI's routes of the endpoints that `Direct` has.

    Args:
        endpoints: By exact path.

        documented: What the documentation says of each.

    Returns:
        The router.
    """
    router = APIRouter()
    for about in documented:
        add_documented(
            router,
            about.path,
            endpoints[about.path],
            wire_model=about.wire_model,
            about=about.about,
            tags=[about.tag],
        )
    return router


def add_documented(
    router: APIRouter,
    path: str,
    endpoint: Endpoint | None,
    *,
    wire_model: type[Any],
    about: str,
    tags: list[str | Enum] | None = None,
    find_endpoint: Callable[[str], tuple[Endpoint, str] | None] = lambda _: None,
) -> None:
    """
    Add an endpoint to FastAPI's router as well: for the documentation, and for whatever doesn't come the short way.

    Args:
        router: Where to add it.

        path: The path that `Direct` has it under, or a template of such paths.

        endpoint: What answers; None where that depends on the path.

        wire_model: The `msgspec.Struct` of its body.

        about: What it does, in a sentence, for the documentation.

        tags: What it is listed under; None leaves that to the router.

        find_endpoint: What `Direct` finds the endpoint of a template's path with.
    """

    async def answer(request: Request) -> Response:
        found = endpoint or (find_endpoint(request.url.path) or (None,))[0]
        if found is None:
            raise RouteNotFound(f"There is nothing at {request.url.path}.")
        content = await found(context_of(request.scope), await request.body())
        if isinstance(content, EventStream):
            return StreamingResponse(_with_error_frame(request.scope, content), headers=EVENT_STREAM_HEADERS)
        if isinstance(content, Content):
            return Response(content.body, media_type=content.media_type, headers=dict(content.headers))
        return Response(content, media_type="application/json")

    router.add_api_route(
        path,
        answer,
        methods=["POST"],
        name=path.rpartition("/")[2],
        description=about,
        tags=tags,
        openapi_extra=to_openapi_body(wire_model),
    )


async def _with_error_frame(scope: Scope, stream: EventStream) -> AsyncIterator[bytes]:
    """Frames, and an error as the last of them: FastAPI's layers make a crash of one that comes after the status."""
    try:
        async for frame in stream.frames:
            yield frame
    except FacadeError as error:
        yield to_frame(scope, error)


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
