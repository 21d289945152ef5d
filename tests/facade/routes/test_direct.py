"""The short way reads bodies whole, however they come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from facade.errors import CallerLeft
from facade.routes.direct import read_body

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

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
    paths = (await client.get("/openapi.json")).json()["paths"]

    for path, field in (("/v1/embeddings", "input"), ("/predict", "prompt")):
        operation = paths[path]["post"]
        assert operation["description"]
        assert "parameters" not in operation
        body = operation["requestBody"]["content"]["application/json"]["schema"]
        assert field in body["properties"]
