"""Health tells probes the truth."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.facade.conftest import until_ready

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


async def test_probes_need_no_key(client: httpx.AsyncClient) -> None:
    """Live and ready answer anybody."""
    client.headers.pop("X-API-Key")

    assert (await client.get("/health/live")).json() == {"status": "live"}
    assert (await client.get("/health/ready")).json()["models"] == ["minilm"]


async def test_probes_may_ask_for_the_head_alone(client: httpx.AsyncClient) -> None:
    """Some load balancers do: the status without the body."""
    for path in ("/health/live", "/health/ready"):
        answer = await client.head(path)

        assert (answer.status_code, answer.content) == (200, b"")


async def test_a_trailing_slash_leads_nowhere(client: httpx.AsyncClient) -> None:
    """A key is never sent on to an address that the caller's Host header made up; each surface says 404 its way."""
    for path, is_openai in (("/predict/", False), ("/v1/embeddings/", True), ("/v1/models/", True)):
        answer = await client.post(path, json={"prompt": "x"}, headers={"Host": "elsewhere.example"})

        assert (answer.status_code, "location" in answer.headers) == (404, False)
        assert ("error" in answer.json()) is is_openai


async def test_readiness_follows_triton(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """Gone while Triton is gone, back when it is back; live all the while."""
    await triton.stop()
    async with asyncio.timeout(10):
        while (answer := await client.get("/health/ready")).status_code != 503:
            await asyncio.sleep(0.01)
    assert answer.json()["reason"] == "Triton does not answer."
    assert (await client.get("/health/live")).status_code == 200

    await triton.start()
    await until_ready(client)


async def test_metrics_need_a_key(client: httpx.AsyncClient) -> None:
    """They are in Prometheus's text format, for those who may."""
    answer = await client.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain")
    assert "facade_triton_up 1.0" in answer.text
    assert (await client.get("/metrics", headers={"X-API-Key": "wrong"})).status_code == 401
