"""The load client against real sockets: whatever the pieces arrive in, each request gets its own answer."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from tests.load.client import AnswerUnreadable, Connection, embeddings_body, make_request, read_head

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _answering(pieces: list[bytes]) -> AsyncIterator[Connection]:
    """A server that answers each request with *pieces*, one write each, and a connection to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.startswith(b"content-length")
                )
                await reader.readexactly(length)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        connection = await Connection.open(*server.sockets[0].getsockname()[:2])
        try:
            yield connection
        finally:
            connection.close()


ANSWER = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello"


@pytest.mark.parametrize("size", [1, 7, 1000])
async def test_an_answer_is_read_however_it_is_cut(size: int) -> None:
    """Answers in pieces of any size come back whole, one after the other on one connection."""
    pieces = [ANSWER[start : start + size] for start in range(0, len(ANSWER), size)]
    request = make_request("here:1", "/x", {"a": "b"}, b"{}")

    async with asyncio.timeout(10), _answering(pieces) as connection:
        for _ in range(3):
            assert await connection.exchange(request) == (200, b"hello")


async def test_an_answer_without_length_is_an_error() -> None:
    """It fails at once instead of waiting for ever."""
    async with asyncio.timeout(10), _answering([b"HTTP/1.1 200 OK\r\n\r\n"]) as connection:
        with pytest.raises(AnswerUnreadable, match="Content-Length"):
            await connection.exchange(make_request("here:1", "/x", {}, b"{}"))


async def test_a_server_that_hangs_up_is_an_error() -> None:
    """Who waits for an answer is told."""

    async def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with asyncio.timeout(10), await asyncio.start_server(hang_up, "127.0.0.1", 0) as server:
        connection = await Connection.open(*server.sockets[0].getsockname()[:2])
        assert connection.is_open
        with pytest.raises(AnswerUnreadable):
            await connection.exchange(make_request("here:1", "/x", {}, b"{}"))
        assert not connection.is_open


def test_heads_are_read_in_any_case() -> None:
    """Header names may be written in capitals; what isn't HTTP is an error."""
    assert read_head(b"HTTP/1.1 503 Busy\r\nCONTENT-LENGTH: 12") == (503, 12)
    with pytest.raises(AnswerUnreadable, match="not HTTP"):
        read_head(b"SSH-2.0")


def test_bodies_are_what_the_route_takes() -> None:
    """One text, in base64."""
    body = json.loads(embeddings_body("minilm", 'a "text"'))

    assert body == {"model": "minilm", "input": 'a "text"', "encoding_format": "base64"}
