"""One endpoint has no pool; several have one, and a façade in front of them says how they are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from facade.app import build_app
from facade.settings import Settings
from facade.triton.backend import open_backend
from facade.triton.client import TritonClient
from facade.triton.pool import EndpointPool
from tests.facade.conftest import KEY, until_ready
from tests.facade.serving import serving
from tests.facade.triton.watcher import Watcher
from tests.facade.wire_triton import WireTriton

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("127.0.0.1:8001", TritonClient),
        ("triton:8001", TritonClient),
        ("127.0.0.1:8001,127.0.0.1:8002", EndpointPool),
        ("dns:///triton:8001", EndpointPool),
    ],
)
def test_one_fixed_endpoint_has_no_pool(url: str, expected: type) -> None:
    """What isn't needed costs nothing."""
    assert type(open_backend(url, observer=Watcher(), has_hedges=False)) is expected


@pytest.fixture(name="second")
async def _second() -> AsyncIterator[WireTriton]:
    """Another Triton."""
    triton = WireTriton()
    await triton.start()
    yield triton
    await triton.stop()


async def test_a_facade_stays_ready_while_one_triton_serves(triton: WireTriton, second: WireTriton) -> None:
    """Readiness, answers and metrics, through HTTP, before and after one of two is gone."""
    settings = Settings(
        triton_url=f"{triton.url},{second.url}",
        catalogue_interval_s=0.05,
        api_key=SecretStr(KEY),
        cache=False,
    )
    async with (
        serving(build_app(settings)) as base_url,
        httpx.AsyncClient(base_url=base_url, headers={"X-API-Key": KEY}, timeout=30) as client,
    ):
        await until_ready(client)
        await embed_many(client, 20)
        assert triton.batches
        assert second.batches
        assert "facade_triton_endpoints_up 2.0" in await read_metrics(client)

        await second.stop()
        await embed_many(client, 20)
        assert (await client.get("/health/ready")).status_code == 200
        async with asyncio.timeout(20):
            while "facade_triton_endpoints_up 1.0" not in (metrics := await read_metrics(client)):
                await asyncio.sleep(0.05)
        assert f'facade_triton_endpoint_ejected{{endpoint="{second.url}"}} 1.0' in metrics
        assert f'facade_triton_endpoint_ejected{{endpoint="{triton.url}"}} 0.0' in metrics
        assert f'facade_triton_endpoint_calls_in_flight{{endpoint="{triton.url}"}} 0.0' in metrics
        assert "facade_triton_ejections_total" in metrics

        await triton.stop()
        answer = await client.post("/v1/embeddings", json={"model": "minilm", "input": "x"})
        assert answer.status_code == 503
        assert "retry-after" in answer.headers


async def embed_many(client: httpx.AsyncClient, count: int) -> None:
    """Have texts embedded, several requests at once; all are answered."""
    requests = [
        client.post("/v1/embeddings", json={"model": "minilm", "input": f"text {index}"})
        for index in range(count)
    ]
    assert {answer.status_code for answer in await asyncio.gather(*requests)} == {200}


async def read_metrics(client: httpx.AsyncClient) -> str:
    """Read all metrics."""
    return (await client.get("/metrics")).text
