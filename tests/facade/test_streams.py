"""Answers that are sent while they are made, from the caller's socket down to Triton."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from tests.facade.conftest import KEY, until_served
from tests.facade.wire_generation import chat_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

PREDICT = {"model": "chat", "prompt": "a b"}
STREAM = {"Accept": "text/event-stream"}


@pytest.fixture(name="chat", autouse=True)
async def _chat(triton: WireTriton, client: httpx.AsyncClient) -> None:
    """A model that generates."""
    triton.models["chat"] = chat_model()
    await until_served(client, "chat")


@pytest.fixture(name="other")
async def _other(client: httpx.AsyncClient) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with connections of its own."""
    async with httpx.AsyncClient(base_url=client.base_url, headers=client.headers) as other:
        yield other


def events(text: str) -> list[Any]:
    """The events of a stream, decoded."""
    assert text.endswith("\n\n")
    found = [event.removeprefix("data: ") for event in text[:-2].split("\n\n")]
    return [event if event == "[DONE]" else json.loads(event) for event in found]


async def test_the_first_piece_is_here_before_the_second_is_made(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """Nothing on the way holds events back, or tells others to."""
    triton.pause_after = 1
    async with client.stream("POST", "/predict", json=PREDICT, headers=STREAM) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
        assert answer.headers["x-model-version"] == "1"
        chunks = answer.aiter_text()
        assert events(await anext(chunks)) == [{"text": "Hello"}]
        triton.resume.set()
        rest = "".join([chunk async for chunk in chunks])

    assert events(rest)[-1] == "[DONE]"


async def test_an_error_before_the_first_piece_is_a_status(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """As for an answer that isn't streamed."""
    triton.stream_failure = (0, grpc.StatusCode.INVALID_ARGUMENT, "'top_p' is odd")
    answer = await client.post("/predict", json=PREDICT, headers=STREAM)

    assert (answer.status_code, answer.json()["param"]) == (400, "top_p")


@pytest.mark.parametrize(
    ("path", "body", "shape"),
    [
        ("/predict", PREDICT, {"status": 502, "code": "backend_failed"}),
        (
            "/v2/models/chat/generate_stream",
            {"text_input": "a"},
            {"error": "The model server failed: broken"},
        ),
    ],
)
async def test_a_later_error_is_the_last_event(
    client: httpx.AsyncClient, triton: WireTriton, path: str, body: dict[str, Any], shape: dict[str, Any]
) -> None:
    """In the surface's own shape, without an end that would look like success; and it is counted."""
    triton.stream_failure = (2, grpc.StatusCode.INTERNAL, "broken")
    answer = await client.post(path, json=body, headers=STREAM)

    *before, last = events(answer.text)
    assert answer.status_code == 200
    assert len(before) == 2
    assert last.items() >= shape.items()
    metrics = (await client.get("/metrics")).text
    assert 'facade_streams_broken_total{code="backend_failed"} 1.0' in metrics


async def test_time_that_is_over_is_the_last_event(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """The caller hears it, and Triton stops."""
    triton.pause_after = 2
    answer = await client.post("/predict", json=PREDICT, headers={**STREAM, "X-Request-Timeout": "0.3"})

    *before, last = events(answer.text)
    assert [event["text"] for event in before] == ["Hello", ","]
    assert last["code"] == "deadline_exceeded"
    await asyncio.wait_for(triton.cancellation.wait(), 5)


@pytest.mark.parametrize("headers", [STREAM, {}])
async def test_a_caller_that_leaves_stops_triton(
    client: httpx.AsyncClient, other: httpx.AsyncClient, triton: WireTriton, headers: dict[str, str]
) -> None:
    """Streamed or not; what was read is counted."""
    triton.pause_after = 2
    leaving = asyncio.create_task(other.post("/predict", json=PREDICT, headers=headers))
    begun = 'facade_time_to_first_token_seconds_count{model="chat"} 1.0'
    async with asyncio.timeout(5):
        while begun not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.001)
    leaving.cancel()

    await asyncio.wait_for(triton.cancellation.wait(), 5)
    async with asyncio.timeout(5):
        while "facade_generations_running 0.0" not in (metrics := (await client.get("/metrics")).text):
            await asyncio.sleep(0.01)
    assert 'facade_tokens_total{direction="in",model="chat"} 2.0' in metrics


async def test_tokens_of_both_directions_are_counted(client: httpx.AsyncClient) -> None:
    """And how fast they came."""
    await client.post("/predict", json=PREDICT, headers=STREAM)

    metrics = (await client.get("/metrics")).text
    assert 'facade_tokens_total{direction="in",model="chat"} 2.0' in metrics
    assert 'facade_tokens_total{direction="out",model="chat"} 4.0' in metrics
    assert 'facade_time_to_first_token_seconds_count{model="chat"} 1.0' in metrics
    assert 'facade_time_per_output_token_seconds_count{model="chat"} 1.0' in metrics


async def test_streams_and_whole_answers_share_one_execution(
    client: httpx.AsyncClient, other: httpx.AsyncClient, triton: WireTriton
) -> None:
    """While it is written, and after."""
    triton.pause_after = 1
    body = {**PREDICT, "parameters": {"temperature": 0}}
    whole = asyncio.create_task(client.post("/predict", json=body))
    while not triton.generations:
        await asyncio.sleep(0.001)
    streamed = asyncio.create_task(other.post("/predict", json=body, headers=STREAM))
    await asyncio.sleep(0.05)
    triton.resume.set()

    assert (await whole).json()["result"] == "Hello, world!"
    first = events((await streamed).text)
    replayed = await client.post("/predict", json=body, headers=STREAM)
    assert events(replayed.text) == first
    assert [event["text"] for event in first[:-1]] == triton.script
    assert replayed.headers["x-cache"] == "hit-memory"
    assert len(triton.generations) == 1


async def test_a_caller_that_reads_nothing_holds_nobody_up(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """Its answer is given up once too much waits for it, and its request ends with its time, deaf or not."""
    triton.script = ["x" * 65_536] * 200
    triton.pause_after = 199
    body = {**PREDICT, "parameters": {"max_tokens": 1000}}
    content = json.dumps(body).encode()
    head = (
        f"POST /predict HTTP/1.1\r\nHost: a\r\nX-API-Key: {KEY}\r\nAccept: text/event-stream\r\n"
        f"X-Request-Timeout: 2\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    deaf = socket.socket()
    deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with deaf:
        deaf.settimeout(0)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, (client.base_url.host, client.base_url.port))
        await loop.sock_sendall(deaf, head.encode() + content)
        await asyncio.wait_for(triton.cancellation.wait(), 20)
        triton.resume.set()

        answer = await client.post("/predict", json=body)
        assert len(answer.json()["result"]) == 200 * 65_536
        broken = 'facade_streams_broken_total{code="deadline_exceeded"} 1.0'
        async with asyncio.timeout(10):
            while True:
                metrics = (await client.get("/metrics")).text
                # The one that reads the metrics is in flight itself.
                if broken in metrics and "facade_requests_in_flight 1.0" in metrics:
                    break
                await asyncio.sleep(0.05)
