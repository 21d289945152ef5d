"""Every request has an id, a measurement and an answer."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.anyio


async def test_a_callers_id_comes_back(client: httpx.AsyncClient) -> None:
    """Callers can follow their own ids."""
    answer = await client.get("/health/live", headers={"X-Request-ID": "order-66"})

    assert answer.headers["x-request-id"] == "order-66"


@pytest.mark.parametrize("forged", ["a b", 'x"y', "ü", "x" * 200, ""])
async def test_an_id_that_could_forge_a_line_is_replaced(client: httpx.AsyncClient, forged: str) -> None:
    """Ids from outside are taken only if they are plain."""
    answer = await client.get("/health/live", headers={"X-Request-ID": forged.encode()})

    assert len(answer.headers["x-request-id"]) == 32


async def test_requests_are_counted_under_their_route(client: httpx.AsyncClient) -> None:
    """The guide's two metrics have the route's template and never the path itself."""
    await client.post("/v1/embeddings", json={"model": "minilm", "input": "a"})
    await client.get("/v1/models/whatever")
    await client.get("/no/such/path")

    metrics = (await client.get("/metrics")).text

    assert 'api_requests_total{endpoint="/v1/embeddings",method="POST",status="200"} 1.0' in metrics
    assert 'api_requests_total{endpoint="/v1/models/{model}",method="GET",status="404"} 1.0' in metrics
    assert 'api_requests_total{endpoint="unmatched",method="GET",status="404"} 1.0' in metrics
    assert 'api_request_latency_seconds_count{endpoint="/v1/embeddings",method="POST"} 1.0' in metrics
    assert "whatever" not in metrics
    assert 'facade_tokens_total{direction="in",model="minilm"} 3.0' in metrics


async def test_an_unusual_method_makes_no_label(client: httpx.AsyncClient) -> None:
    """Callers can't grow the number of series."""
    await client.request("PROPFIND", "/predict")

    metrics = (await client.get("/metrics")).text

    assert "PROPFIND" not in metrics
    assert 'method="OTHER"' in metrics


async def test_one_line_is_logged_without_key_and_text(
    client: httpx.AsyncClient, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """The line says who, what and how long, and nothing secret; probes write none."""
    await client.get("/health/live")
    await client.post("/v1/embeddings", json={"model": "minilm", "input": "very private words"})
    said = b""
    async with asyncio.timeout(5):
        while b"/v1/embeddings" not in said:
            await asyncio.sleep(0.01)
            said += capfdbinary.readouterr().err

    (line,) = [json.loads(line) for line in said.splitlines() if b'"event":"request"' in line]
    assert (line["key"], line["model"], line["version"], line["status"]) == ("default", "minilm", 1, 200)
    assert (line["items"], line["tokens"], line["cache"]) == (1, 5, "miss")
    assert line["duration_ms"] > 0
    assert b"private" not in said
    assert b"a-key-for-tests" not in said


async def test_refused_requests_are_counted_under_their_route(client: httpx.AsyncClient) -> None:
    """Who is refused before any router looks is counted where the request wanted to go."""
    wrong = {"X-API-Key": "wrong"}
    await client.post("/v1/embeddings", json={"model": "minilm", "input": "a"}, headers=wrong)
    await client.get("/v1/models/whatever", headers=wrong)
    await client.get("/no/such/path", headers=wrong)

    metrics = (await client.get("/metrics")).text

    assert 'api_requests_total{endpoint="/v1/embeddings",method="POST",status="401"} 1.0' in metrics
    assert 'api_requests_total{endpoint="/v1/models/{model}",method="GET",status="401"} 1.0' in metrics
    assert 'api_requests_total{endpoint="unmatched",method="GET",status="401"} 1.0' in metrics


@pytest.mark.parametrize("order", [1, -1])
async def test_no_line_of_a_header_hides_another(client: httpx.AsyncClient, order: int) -> None:
    """``no-store`` holds wherever it stands, and of two keys neither is believed."""
    asked = {"model": "minilm", "input": "kept"}
    await client.post("/v1/embeddings", json=asked)
    wishes = [("Cache-Control", "no-store"), ("Cache-Control", "max-age=60")][::order]
    keys = [("X-API-Key", client.headers["X-API-Key"]), ("X-API-Key", "wrong")][::order]

    answer = await client.post("/v1/embeddings", json=asked, headers=wishes)
    assert answer.headers["x-cache"] == "bypass"
    assert (await client.post("/v1/embeddings", json=asked, headers=keys)).status_code == 401
