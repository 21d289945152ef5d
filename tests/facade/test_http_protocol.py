"""What isn't a request is refused in the surface's shape, and nobody fills the memory or a connection without a key."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from facade import http_protocol
from facade.http_protocol import HEAD_LIMIT_BYTES
from tests.facade.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.anyio


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with the body, when it is whole."""
    if scope["type"] != "http":
        return
    body, is_whole = b"", False
    while not is_whole:
        message = await receive()
        body += message.get("body", b"")
        is_whole = not message.get("more_body", False)
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture(name="address")
async def _address() -> AsyncIterator[tuple[str, int]]:
    """Where `echo` is served."""
    async with serving(echo) as url:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        yield parts.hostname, parts.port


async def send(address: tuple[str, int], *parts: bytes) -> bytes:
    """Send bytes and read until the server closes the connection."""
    reader, writer = await asyncio.open_connection(*address)
    async with asyncio.timeout(10):
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


async def keep_sending(writer: asyncio.StreamWriter) -> None:
    """Send until the connection is gone; give up after five seconds."""
    async with asyncio.timeout(5):
        while True:
            writer.write(b"more")
            await writer.drain()
            await asyncio.sleep(0.01)


def read(answer: bytes) -> tuple[int, dict[str, Any]]:
    """Take an answer with a JSON body apart."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-length: %d\r\n" % len(body) in head + b"\r\n"
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    "request_text",
    [
        b"POST /v1/x HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nNo Colon\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nX-A: a\x00b\r\n\r\n",
        b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    ],
)
async def test_a_malformed_request_is_400_in_the_surfaces_shape(
    address: tuple[str, int], request_text: bytes
) -> None:
    """OpenAI's error object under /v1/, the reason in it, and the connection is closed."""
    status, body = read(await send(address, request_text))

    assert (status, body["error"]["code"]) == (400, "invalid_input")
    assert "HTTP" in body["error"]["message"]


async def test_what_has_no_path_gets_a_problem(address: tuple[str, int]) -> None:
    """A TLS hello on the plain port and an unknown method get problem+json."""
    for garbage in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"FOO / HTTP/1.1\r\n\r\n"):
        answer = await send(address, garbage)

        assert read(answer)[1]["status"] == 400
        assert b"content-type: application/problem+json" in answer


async def test_heads_have_a_largest_size(address: tuple[str, int]) -> None:
    """431 for many headers, for one without end, and for a path without end, whoever asks."""
    many = b"".join(b"X-%d: %s\r\n" % (i, b"a" * 100) for i in range(HEAD_LIMIT_BYTES // 100))
    endless = [b"GET /v1/x HTTP/1.1\r\nX-A: ", *[b"a" * 4096] * (HEAD_LIMIT_BYTES // 4096 + 80)]
    whole = await send(address, b"GET /v1/x HTTP/1.1\r\n" + many + b"\r\n")
    unfinished = await send(address, *endless)
    path = await send(address, b"GET /v1/" + b"x" * HEAD_LIMIT_BYTES + b" HTTP/1.1\r\n\r\n")

    assert (read(whole)[0], read(path)[0]) == (431, 431)
    assert read(whole)[1]["error"]["code"] == "head_too_large"
    assert read(unfinished)[0] == 431


async def test_a_refused_caller_is_not_listened_to_for_long(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer and the end come at once, the connection is gone soon after."""
    monkeypatch.setattr(http_protocol, "LINGER_S", 0.1)
    reader, writer = await asyncio.open_connection(*address)
    writer.write(b"GARBAGE\r\n\r\n")

    assert read(await reader.read())[0] == 400
    with pytest.raises(ConnectionError):
        await keep_sending(writer)
    writer.close()


async def test_a_head_below_the_limit_is_served(address: tuple[str, int]) -> None:
    """In one piece or byte by byte, on a connection that is kept."""
    request = b"POST /v1/x HTTP/1.1\r\nX-A: %s\r\nContent-Length: 2\r\n\r\nok" % (
        b"a" * (HEAD_LIMIT_BYTES - 100)
    )
    small = b"POST /v1/x HTTP/1.1\r\nContent-Length: 2\r\n\r\nok"
    last = b"POST /v1/x HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"

    answer = await send(address, request, *[bytes([byte]) for byte in small], last)

    assert answer.count(b"HTTP/1.1 200 OK") == 3


async def test_an_offered_upgrade_is_ignored_and_the_body_kept(address: tuple[str, int]) -> None:
    """As Java's client sends it: with a length or in chunks, in one piece or several, and more requests behind it."""
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
    sized = b"POST /v1/x HTTP/1.1\r\n" + offer + b"Content-Length: 5\r\n\r\nfirst"
    chunked = (
        b"POST /v1/x HTTP/1.1\r\n"
        + offer
        + b"Transfer-Encoding: chunked\r\n\r\n3\r\nsec\r\n3\r\nond\r\n0\r\n\r\n"
    )
    last = b"POST /v1/x HTTP/1.1\r\nConnection: close\r\nContent-Length: 5\r\n\r\nthird"

    whole = await send(address, sized + chunked + last)
    in_bytes = await send(address, *[bytes([byte]) for byte in sized + chunked + last])

    for answers in (whole, in_bytes):
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        assert [word for word in (b"first", b"second", b"third") if answers.count(word) == 1] == [
            b"first",
            b"second",
            b"third",
        ]


async def test_a_connect_is_no_upgrade(address: tuple[str, int]) -> None:
    """It isn't a path that anything is served at: one answer, and the end."""
    answer = await send(address, b"CONNECT example.org:80 HTTP/1.1\r\nConnection: close\r\n\r\n")

    assert read(answer)[0] == 400


async def test_whoever_never_finishes_a_head_is_let_go(
    address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word, at the very first head and after a request; a request under way has no such limit."""
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.2)
    request = b"POST /v1/x HTTP/1.1\r\nContent-Length: 2\r\n\r\n"

    assert await send(address) == b""
    assert await send(address, b"GET /v1/x HT") == b""
    assert (await send(address, request + b"ok", b"GET /v1/x HT")).count(b"HTTP/1.1") == 1

    reader, writer = await asyncio.open_connection(*address)
    writer.write(request)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await reader.read(1)
    writer.write(b"ok")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()


async def test_garbage_behind_a_request_is_not_taken_for_its_answer(address: tuple[str, int]) -> None:
    """The connection is closed instead."""
    unfinished = b"POST /v1/x HTTP/1.1\r\nContent-Length: 2\r\n\r\nok"

    answer = await send(address, unfinished + b"GARBAGE\r\n\r\n")

    assert b"400" not in answer.partition(b"\r\n")[0]
