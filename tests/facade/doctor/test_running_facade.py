"""A façade that runs: ready, not ready, away, or something else in its place."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from prometheus_client import start_http_server

from facade.app import build_app
from facade.doctor.machine import examine_port
from facade.doctor.running_facade import examine_running
from facade.telemetry import Metrics
from tests.facade.redis_server import RedisServer, free_port
from tests.facade.serving import serving

if TYPE_CHECKING:
    import httpx

    from facade.settings import Settings
    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


async def test_a_ready_facade_names_its_models_and_the_time(client: httpx.AsyncClient) -> None:
    """Its Date header is a clock to compare with."""
    (found,), answer = await asyncio.to_thread(examine_running, str(client.base_url), 5)

    assert (found.status, "models: minilm" in found.found) == ("ok", True)
    assert answer is not None
    assert answer.date is not None
    assert abs(answer.date - answer.asked_at) < 3


async def test_its_port_counts_as_its_own(client: httpx.AsyncClient) -> None:
    """Taken by a façade is fine."""
    host, port = str(client.base_url.host), client.base_url.port
    found = await asyncio.to_thread(examine_port, "port", host, port, "FACADE_PORT")

    assert (found.status, "by a façade" in found.found) == ("ok", True)


def test_its_metrics_port_counts_as_its_own_too() -> None:
    """Which has metrics and nothing else."""
    port = free_port()
    server, thread = start_http_server(port, "127.0.0.1", registry=Metrics().registry)
    try:
        found = examine_port("metrics port", "127.0.0.1", port, "FACADE_METRICS_PORT")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

    assert (found.status, "by a façade" in found.found) == ("ok", True)


async def test_one_without_its_triton_says_why(settings: Settings, triton: WireTriton) -> None:
    """Its own reason is passed on."""
    await triton.stop()
    async with serving(build_app(settings)) as url:
        (found,), _ = await asyncio.to_thread(examine_running, url, 5)

    assert (found.status, "Triton does not answer" in found.found) == ("problem", True)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:{port}", "http://no-such-host.invalid", "ftp://x", "nonsense"]
)
def test_one_that_is_away_is_a_problem(url: str) -> None:
    """As are URLs that make no sense."""
    (found,), answer = examine_running(url.format(port=free_port()), 1)

    assert (found.status, answer) == ("problem", None)
    assert "--facade-url" in found.remedy


def test_something_else_is_told() -> None:
    """Redis ends the connection at an HTTP request."""
    with RedisServer() as server:
        (found,), _ = examine_running(f"http://127.0.0.1:{server.port}", 1)

    assert found.status == "problem"
