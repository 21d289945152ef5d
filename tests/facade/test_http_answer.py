"""Heads written in one pass: the same bytes as uvicorn's for ordinary answers, and no header that passes for two."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from facade.http_answer import to_head
from tests.facade.test_http_protocol import connected, read_to_end

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

pytestmark = pytest.mark.anyio


async def exchange(app: ASGIApp, raw: bytes) -> bytes:
    """Send bytes to an application that is served, and read until it closes the connection."""
    async with connected(app) as (reader, writer):
        writer.write(raw)
        return await read_to_end(reader)


def _start(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def test_an_ordinary_head_is_written_whole() -> None:
    """Status line, headers in their order, the empty line."""
    found = to_head(_start((b"content-length", b"2"), (b"x-a", b"b\tc\xe9")))
    assert found == (2, b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\tc\xe9\r\n\r\n")


@pytest.mark.parametrize("value", [b"a\r\nx-b: c", b"a\nb", b"a\rb", b"a\0", b"\x7f"])
@pytest.mark.parametrize("is_name", [True, False])
def test_a_control_character_is_never_sent(value: bytes, is_name: bool) -> None:  # noqa: FBT001
    """A value or a name that could end its line, or holds what no header may, ends the answer instead."""
    header = (value, b"x") if is_name else (b"x", value)
    with pytest.raises(RuntimeError):
        to_head(_start((b"content-length", b"2"), header))


@pytest.mark.parametrize(
    "message",
    [
        _start((b"x", b"y")),
        _start((b"content-length", b"2"), (b"connection", b"close")),
        _start((b"transfer-encoding", b"chunked")),
        _start((b"content-length", b"0"), status=304),
        {"type": "http.response.body", "body": b""},
    ],
)
def test_what_is_not_ordinary_is_left_to_uvicorn(message: Message) -> None:
    """Unknown lengths, closing connections, answers without a body and wrong messages go the long way."""
    assert to_head(message) is None


@pytest.mark.parametrize("parts", [[b"whole"], [b"in ", b"two"], [b""]])
async def test_bodies_of_any_number_of_parts_arrive(parts: list[bytes]) -> None:
    """One part goes the short way, several or an empty one uvicorn's; the connection serves the next request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await receive()
        await send(_start((b"content-length", b"%d" % sum(map(len, parts)))))
        for part in parts[:-1]:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": parts[-1]})

    request = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    assert (await exchange(app, request + last)).count(b"\r\n\r\n" + b"".join(parts)) == 2


async def test_a_body_of_another_length_breaks_the_connection() -> None:
    """A body that isn't what its head said is never taken for whole."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        await receive()
        await send(_start((b"content-length", b"9")))
        await send({"type": "http.response.body", "body": b"short"})

    got = await exchange(app, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    assert got.endswith(b"short")
    assert b"content-length: 9" in got
