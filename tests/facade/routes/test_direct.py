"""The short way reads bodies whole, however they come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from facade.context import SCOPE_KEY, RequestContext
from facade.errors import CallerLeft
from facade.routes.direct import TURN_FRAMES, Direct, EventStream, read_body

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    import httpx

pytestmark = pytest.mark.anyio


def receiving(*messages: dict[str, Any]) -> Callable[[], Coroutine[Any, Any, Any]]:
    """A server that gives these messages."""
    waiting = list(messages)

    async def receive() -> Any:
        return waiting.pop(0)

    return receive


def part(body: bytes, *, more_body: bool) -> dict[str, Any]:
    """A part of a body."""
    return {"type": "http.request", "body": body, "more_body": more_body}


async def test_a_body_in_one_part_is_read() -> None:
    """The usual case."""
    assert await read_body(receiving(part(b"whole", more_body=False))) == b"whole"


async def test_a_body_in_parts_is_joined() -> None:
    """In order, empty parts included."""
    parts = [part(b"a", more_body=True), part(b"", more_body=True), part(b"b", more_body=False)]

    assert await read_body(receiving(*parts)) == b"ab"


async def test_a_body_broken_off_is_no_body() -> None:
    """Half a request is never answered."""
    with pytest.raises(CallerLeft):
        await read_body(receiving(part(b"half", more_body=True), {"type": "http.disconnect"}))


async def test_the_documentation_has_the_endpoints_and_their_bodies(client: httpx.AsyncClient) -> None:
    """What goes the short way is described all the same."""
    document = (await client.get("/openapi.json")).json()
    paths = document["paths"]

    for path, field in (("/v1/embeddings", "input"), ("/predict", "prompt")):
        operation = paths[path]["post"]
        assert operation["description"]
        assert all("$ref" in parameter for parameter in operation["parameters"])
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert field in document["components"]["schemas"][name]["properties"]


async def test_an_answer_that_waits_for_nothing_lets_others_have_their_turn() -> None:
    """A stored one's frames are all there at once."""
    turns = sent = 0

    async def frames() -> AsyncIterator[bytes]:
        for _ in range(10 * TURN_FRAMES):
            yield b"data: x\n\n"

    async def answer(context: RequestContext, body: bytes) -> EventStream:
        return EventStream(frames())

    async def send(message: Any) -> None:
        nonlocal sent
        sent += 1

    async def count_turns() -> None:
        nonlocal turns
        while sent < 10 * TURN_FRAMES:
            turns += 1
            await asyncio.sleep(0)

    scope = {"type": "http", "method": "POST", "path": "/x", SCOPE_KEY: RequestContext("id")}
    other = asyncio.create_task(count_turns())
    await Direct(cast("Any", None), {"/x": answer})(scope, receiving(part(b"", more_body=False)), send)
    await other

    assert sent == 10 * TURN_FRAMES + 2
    assert turns >= 9
