"""Requests that mean harm, over a raw socket to the whole façade: nobody passes, nobody is hurt, nothing fails."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from itertools import product
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from facade.app import build_app
from tests.facade.conftest import KEY, until_served
from tests.facade.serving import serving
from tests.facade.wire_generation import chat_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from facade.settings import Settings
    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

EMBED = b'{"model":"minilm","input":"a"}'
INSIDE = b"GET /v1/models HTTP/1.1\r\nX-API-Key: " + KEY.encode() + b"\r\nConnection: close\r\n\r\n"
"""A request that another server might hand on as the body of the one before it."""


async def send_raw(client: httpx.AsyncClient, data: bytes) -> bytes:
    """Send bytes and read until the façade closes the connection."""
    parts = urlsplit(str(client.base_url))
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    async with asyncio.timeout(20):
        writer.write(data)
        try:
            return await reader.read()
        finally:
            writer.close()


def statuses(answers: bytes) -> list[int]:
    """The status of each answer."""
    return [int(part[:3]) for part in answers.split(b"HTTP/1.1 ")[1:]]


# Smuggling: two servers that disagree about where a request ends...


AMBIGUOUS = (
    b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    b"Content-Length: 0\r\nContent-Length: 4\r\n\r\n",
    b"Content-Length: 0, 4\r\n\r\n",
    b"Content-Length: +0\r\n\r\n",
    b"Content-Length: 0x0\r\n\r\n",
    b"Content-Length: 0 0\r\n\r\n",
    b"Content-Length : 0\r\n\r\n",
    b"Content-Length:\r\n 0\r\n\r\n",
    b"Content-Length: 18446744073709551616\r\n\r\n",
    b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    b"X-A: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\nX-B\r\n\r\n",
    b"X-A: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"X-A: a\nTransfer-Encoding: chunked\n\n0\n\n",
    b"X-A: a\x00\r\nContent-Length: 0\r\n\r\n",
    b"\r\nContent-Length: 0\r\n : \r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n-0\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0 \r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n0\n\n",
    b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n\r\n1\r\naX0\r\n\r\n",
)


async def test_an_ambiguous_end_is_refused_with_all_behind_it(client: httpx.AsyncClient) -> None:
    """One 4xx at most, and what might be a second request is not answered."""
    for headers in AMBIGUOUS:
        answers = await send_raw(client, b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\n" + headers + INSIDE)

        assert len(statuses(answers)) <= 1, (headers, answers)
        assert all(400 <= status < 500 for status in statuses(answers)), (headers, answers)
        assert b"minilm" not in answers, headers


async def test_two_whole_requests_are_two(client: httpx.AsyncClient) -> None:
    """What the test above would see if anything had passed."""
    request = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

    answers = await send_raw(client, request + INSIDE)

    assert statuses(answers) == [401, 200]
    assert b"minilm" in answers


# Paths and headers: what needs a key needs one however it is written...


TARGETS = (
    "//v1/models",
    "/v1/models/",
    "/V1/MODELS",
    "/v1/models%00",
    "/v1/models;x",
    "/%76%31/models",
    "/health/live/../../v1/models",
    "/health/live/%2e%2e/%2e%2e/v1/models",
    "/health/live%2f..%2f..%2fv1/models",
    "/health/live/",
    "/HEALTH/LIVE",
    "/health/live%00",
    "/health/live%0d%0aX-API-Key:%20x",
    "/health/live;/v1/models",
    "/health/live\\..\\v1\\models",
    "http://127.0.0.1/v1/models",
    "http://example.org/v1/models",
    "/v1/models?path=/health/live",
    "/metrics",
    "/docs/../metrics",
    "/%E2%80%AEv1/models",
    "/v1/models%ff",
    "*",
)


async def test_no_spelling_of_a_path_needs_no_key(client: httpx.AsyncClient) -> None:
    """Public are the exact paths that the operator named, and nothing that looks like them."""
    tricks = "X-Original-URL: /health/live\r\nX-Rewrite-URL: /health/live\r\nX-Forwarded-Prefix: /health\r\n"
    for target in TARGETS:
        head = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
        for request in (head, head + tricks):
            answers = await send_raw(client, request.encode() + b"\r\n")

            assert len(statuses(answers)) == 1, target
            assert statuses(answers)[0] in {400, 401}, target
            assert b"minilm" not in answers, target


CREDENTIALS: tuple[tuple[str, dict[str, str], int], ...] = (
    ("GET", {"X-API-Key": f"{KEY}, other"}, 401),
    ("GET", {"X-API-Key": KEY.upper()}, 401),
    ("GET", {"X-API-Key": f"{KEY}\t"}, 200),
    ("GET", {"Authorization": f"bearer {KEY}"}, 200),
    ("GET", {"Authorization": f"Basic {KEY}"}, 401),
    ("GET", {"Authorization": "Bearer"}, 401),
    ("GET", {"X_API_Key": KEY}, 401),
    ("GET", {"Cookie": f"X-API-Key={KEY}"}, 401),
    ("POST", {"X-HTTP-Method-Override": "GET", "X-API-Key": KEY}, 405),
    ("TRACE", {"X-API-Key": KEY}, 405),
    ("OPTIONS", {}, 401),
    ("HEAD", {}, 401),
)


async def test_a_key_counts_where_it_belongs(client: httpx.AsyncClient) -> None:
    """In its two headers, as it is, and the method is the request line's."""
    for method, headers, status in CREDENTIALS:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        request = f"{method} /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"

        assert statuses(await send_raw(client, request.encode())) == [status], (method, headers)


async def test_two_keys_are_none(client: httpx.AsyncClient) -> None:
    """A second line doesn't win, and neither does the first."""
    for keys in ((KEY, "other"), ("other", KEY)):
        lines = "".join(f"X-API-Key: {key}\r\n" for key in keys)
        request = f"GET /v1/models HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{lines}\r\n"

        assert statuses(await send_raw(client, request.encode())) == [401]


async def test_nothing_of_a_request_is_written_into_an_answers_head(client: httpx.AsyncClient) -> None:
    """An id with more than an id's signs is replaced, and a path comes back in JSON only."""
    answer = await client.get("/v1/%0d%0aSet-Cookie:%20a=b", headers={"X-Request-ID": "a\tb"})

    assert answer.status_code == 404
    assert "set-cookie" not in answer.headers
    assert answer.headers["x-request-id"] != "a\tb"


# Bodies that grow, nest, or are something else...

SURFACES = (
    "/predict",
    "/v1/embeddings",
    "/v1/classify",
    "/v1/rerank",
    "/v1/chat/completions",
    "/v1/completions",
    "/v2/models/chat/generate",
    "/v2/models/chat/generate_stream",
)
V2_INFER = "/v2/models/minilm/infer"


@pytest.fixture(name="chat")
async def _chat(triton: WireTriton, client: httpx.AsyncClient) -> None:
    """A model that generates, beside the one that embeds."""
    triton.models["chat"] = chat_model()
    await until_served(client, "chat")


def hostile_bodies() -> list[bytes]:
    """JSON that recursive readers, careless ones and careless writers fall over."""
    deep = 100_000
    body = b'{"model":"minilm","input":%b,"prompt":%b,"messages":%b,"text_input":%b}'
    values = [
        b"[" * deep + b"]" * deep,
        b'{"a":' * deep + b"1" + b"}" * deep,
        b"[" * deep,
        b"1e999999",
        b"-" + b"9" * 5000,
        b"NaN",
        b'"\\ud800"',
        b'"\\u0000"',
        b'"\xff\xfe"',
        b'{"a":1,"a":2}',
        b"null",
        b"true",
        b'[{"role":"user","content":' + b"[" * 1000 + b"]" * 1000 + b"}]",
        b'[{"role":"user","content":{"__proto__":{"a":1}}}]',
    ]
    return [
        *(body % (value, value, value, value) for value in values),
        *values,
        b"",
        b"\x00",
        b"\xef\xbb\xbf{}",
    ]


async def test_hostile_json_is_the_callers_mistake(client: httpx.AsyncClient, chat: None) -> None:
    """A 4xx for each, in JSON, whatever it is that can't be read, on every surface."""
    for path, body in product((*SURFACES, V2_INFER), hostile_bodies()):
        answer = await client.post(path, content=body, headers={"Content-Type": "application/json"})

        assert 400 <= answer.status_code < 500, (path, body[:80], answer.text[:200])
        assert isinstance(answer.json(), dict)


async def test_a_bomb_is_not_unpacked(client: httpx.AsyncClient) -> None:
    """A compressed body is refused as what it is, bytes that aren't JSON; V2's are unpacked up to the body's limit."""
    zeros = b'{"model":"minilm","input":"' + bytes(32 * 1024 * 1024) + b'"}'
    bombs = {"deflate": zlib.compress(zeros), "gzip": gzip.compress(zeros), "br": bytes(1000)}
    for path, (encoding, bomb) in product(SURFACES, bombs.items()):
        answer = await client.post(path, content=bomb, headers={"Content-Encoding": encoding})

        assert answer.status_code == 400, (path, encoding)
    for encoding, bomb in bombs.items():
        answer = await client.post(V2_INFER, content=bomb, headers={"Content-Encoding": encoding})

        assert 400 <= answer.status_code < 500, encoding


# Names...


NAMES = (
    "../minilm",
    "minilm/../minilm_core",
    "minilm\x00",
    "minilm\u202emlinim",
    "\uff4dinilm",
    "mini\u200blm",
    "MINILM",
    "minilm ",
    'minilm\n{"level":"error"}',
    "${jndi:ldap://example.org/a}",
    "{{7*7}}",
    "%s%s%n",
    "m" * 100_000,
    "\u0661",
    "e\u0301" * 500,
    "\U0001f600",
    "",
    "minilm_core",
    "__class__",
)


async def test_a_name_is_a_name_or_nothing(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """No folding, no normalising, no expansion: 404 or 400 in bodies and in paths, and Triton is never asked."""
    for name in NAMES:
        answers = await ask_by_name(client, name)

        assert {answer.status_code for answer in answers} <= {400, 404}, name
        assert all(len(answer.content) < 400_000 for answer in answers), name
    assert triton.batches == []


async def ask_by_name(client: httpx.AsyncClient, name: str) -> list[httpx.Response]:
    """Use a name wherever a model's name can stand."""
    bodies = {
        "/v1/embeddings": {"model": name, "input": "a"},
        "/v1/rerank": {"model": name, "query": "a", "documents": ["b"]},
        "/v1/chat/completions": {"model": name, "messages": [{"role": "user", "content": "a"}]},
        # An empty name there means the only model.
        "/predict": {"model": name or "-", "prompt": "a"},
    }
    escaped = "".join(f"%{byte:02x}" for byte in name.encode())[:30_000]
    return [
        *[await client.post(path, json=body) for path, body in bodies.items()],
        await client.get(f"/v1/models/{escaped}/"),
        await client.post(f"/v2/models/{escaped}/generate", json={"text_input": "a"}),
    ]


async def test_names_that_callers_make_up_add_no_series(client: httpx.AsyncClient) -> None:
    """Neither models nor paths nor methods: metrics would grow without end."""
    before = (await client.get("/metrics")).text.count("\n")
    for number in range(50):
        await client.post("/v1/embeddings", json={"model": f"m-{number}", "input": "a"})
        await client.get(f"/v1/models/m-{number}")
        await client.get(f"/nowhere/{number}")
        await client.request(f"VERB{number}", "/v1/models")
        await client.post(f"/v2/models/m-{number}/generate", json={"text_input": "a"})
    after = (await client.get("/metrics")).text

    assert "m-1" not in after
    # Series of the answers themselves: some routes and statuses that weren't there, each with its buckets.
    assert after.count("\n") - before < 150


# Slowness...


async def test_a_body_that_never_ends_costs_its_deadline(
    settings: Settings, client: httpx.AsyncClient
) -> None:
    """Without a key it isn't waited for at all; with one, no longer than the request's time."""
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n"
    loop = asyncio.get_running_loop()
    began = loop.time()
    without_key = await send_raw(client, head + b"\r\n{")
    with_key = await send_raw(
        client, head + f"X-API-Key: {KEY}\r\n".encode() + b"X-Request-Timeout: 0.3\r\n\r\n{"
    )

    assert (statuses(without_key), statuses(with_key)) == ([401], [504])
    assert loop.time() - began >= 0.3


async def test_many_idle_connections_shut_nobody_out(client: httpx.AsyncClient) -> None:
    """Two hundred that say half a head each, and a caller is answered beside them."""
    parts = urlsplit(str(client.base_url))
    idle = [await asyncio.open_connection(parts.hostname, parts.port) for _ in range(200)]
    try:
        for _, writer in idle:
            writer.write(b"GET /v1/models HTTP/1.1\r\nX-A: ")
        answer = await client.post("/v1/embeddings", content=EMBED)
        assert answer.status_code == 200
    finally:
        for _, writer in idle:
            writer.close()


@pytest.fixture(name="cramped")
async def _cramped(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[str, int]]:
    """Where a façade listens that has little patience with callers that don't read."""
    monkeypatch.setattr("facade.http_protocol.STALL_S", 0.3)
    async with serving(build_app(settings)) as url:
        parts = urlsplit(url)
        yield str(parts.hostname), int(parts.port or 0)


async def test_an_answer_that_nobody_reads_is_given_up(
    cramped: tuple[str, int], client: httpx.AsyncClient
) -> None:
    """Many large answers are asked for and none is read: the connection ends, and no request stays in flight."""
    texts = [str(number) for number in range(2048)]
    body = json.dumps({"model": "minilm", "input": texts}).encode()
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection(*cramped)
    writer.transport.pause_reading()
    with pytest.raises(ConnectionError):
        await keep_asking(writer, head.encode() + body)
    writer.close()

    metrics_url = f"http://{cramped[0]}:{cramped[1]}/metrics"
    async with asyncio.timeout(10):
        while "facade_requests_in_flight 1.0" not in (await client.get(metrics_url)).text:
            await asyncio.sleep(0.05)


async def keep_asking(writer: asyncio.StreamWriter, request: bytes) -> None:
    """Send a request again and again until the connection is gone."""
    async with asyncio.timeout(30):
        while True:
            writer.write(request)
            await writer.drain()
