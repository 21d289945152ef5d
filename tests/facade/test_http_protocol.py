"""What isn't a request is refused in the surface's shape, and nobody fills the memory or a connection without a key."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from facade import http_protocol
from facade.http_protocol import HEAD_LIMIT_BYTES
from tests.facade.serving import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Receive, Scope, Send

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


async def read_to_end(reader: asyncio.StreamReader) -> bytes:
    """Read until the connection is gone, however it ends."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


async def keep_sending(writer: asyncio.StreamWriter, part: bytes = b"more") -> None:
    """Send until the connection is gone; give up after five seconds."""
    async with asyncio.timeout(5):
        while True:
            writer.write(part)
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


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without a look at the body."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def pour(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with more than any buffer holds, in one piece or in many."""
    if scope["type"] != "http":
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    if scope["path"] == "/whole":
        await send({"type": "http.response.body", "body": bytes(64 * 1024 * 1024)})
        return
    for _ in range(64):
        await send({"type": "http.response.body", "body": bytes(1024 * 1024), "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def connected(app: ASGIApp) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to an application that is served."""
    async with serving(app) as url:
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        yield reader, writer
        writer.close()


@pytest.mark.parametrize("trickle", [b"1\r\na\r\n", b"1\r\n", b""])
async def test_the_rest_of_an_answered_body_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, trickle: bytes
) -> None:
    """Whether it comes byte by byte, stops in the middle, or never comes."""
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.2)
    async with connected(refuse) as (reader, writer), asyncio.timeout(10):
        writer.write(b"POST /v1/x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        writer.write(b"1\r\nx\r\n")
        sending = asyncio.create_task(keep_sending(writer, trickle)) if trickle else None
        assert await read_to_end(reader) == b""
        if sending is not None:
            with pytest.raises(ConnectionError):
                await sending


async def test_a_connection_is_kept_after_an_early_answer_to_a_whole_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next request on it is served, later than the rest of a body would have been waited for."""
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.1)
    request = b"POST /v1/x HTTP/1.1\r\nContent-Length: 2\r\n\r\n"
    async with connected(refuse) as (reader, writer), asyncio.timeout(10):
        writer.write(request)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        writer.write(b"ok")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.4):
                await reader.read(1)
        writer.write(request + b"ok")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")


async def test_blank_lines_keep_no_connection_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are no request, and no reason to wait for one without end."""
    monkeypatch.setattr(http_protocol, "HEAD_TIMEOUT_S", 0.2)
    async with connected(refuse) as (reader, writer), asyncio.timeout(10):
        writer.write(b"GET /v1/x HTTP/1.1\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 401")
        writer.write(b"\r\n")
        assert await read_to_end(reader) == b""


@pytest.mark.parametrize("path", [b"/whole", b"/pieces"])
@pytest.mark.parametrize("header", [b"Connection: keep-alive", b"Connection: close"])
async def test_who_reads_nothing_is_let_go(
    monkeypatch: pytest.MonkeyPatch, path: bytes, header: bytes
) -> None:
    """With what was to be sent: an answer that nobody reads holds memory no longer than `STALL_S`."""
    monkeypatch.setattr(http_protocol, "STALL_S", 0.2)
    async with connected(pour) as (_, writer), asyncio.timeout(10):
        writer.transport.pause_reading()
        writer.write(b"GET " + path + b" HTTP/1.1\r\n" + header + b"\r\n\r\n")
        with pytest.raises(ConnectionError):
            await keep_sending(writer, b"\r\n")


async def test_who_reads_slowly_gets_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as something is read in each `STALL_S`."""
    monkeypatch.setattr(http_protocol, "STALL_S", 0.5)
    async with connected(pour) as (reader, writer), asyncio.timeout(60):
        writer.write(b"GET /whole HTTP/1.1\r\nConnection: close\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        seen = 0
        while part := await reader.read(4 * 1024 * 1024):
            seen += len(part)
            await asyncio.sleep(0.002)

    assert seen > 64 * 1024 * 1024
