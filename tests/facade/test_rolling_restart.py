"""Two façades restarted one after the other under load: nobody notices."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.facade.conftest import KEY
from tests.facade.redis_server import free_port

if TYPE_CHECKING:
    from asyncio.subprocess import Process

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

DRAIN_S = 1.0
PROBE_INTERVAL_S = 0.1
"""How often the balancer looks: several times within a drain, as a real one does."""

CALLERS = 8


class Balancer:
    """Sends each call to one of the ready façades in turn, over kept connections, as a load balancer does."""

    def __init__(self, urls: list[str]) -> None:
        self.clients = {url: httpx.AsyncClient(base_url=url, headers={"X-API-Key": KEY}) for url in urls}
        self.ready: list[str] = []
        self.answered: dict[str, int] = dict.fromkeys(urls, 0)
        self.failures: list[str] = []
        self.is_over = False

    async def probe(self) -> None:
        """Look at readiness again and again."""
        async with httpx.AsyncClient(timeout=1) as client:
            while not self.is_over:
                self.ready = [url for url in self.clients if await _is_ready(client, url)]
                await asyncio.sleep(PROBE_INTERVAL_S)

    async def call(self, caller: int) -> None:
        """Call again and again; a failure of any kind is noted, none is repeated."""
        count = 0
        while not self.is_over:
            count += 1
            url = self.ready[count % len(self.ready)]
            try:
                answer = await self.clients[url].post("/predict", json={"prompt": f"{caller} {count}"})
            except httpx.TransportError as error:
                self.failures.append(repr(error))
                continue
            if answer.status_code == 200:
                self.answered[url] += 1
            else:
                self.failures.append(answer.text)

    async def aclose(self) -> None:
        """Close all connections."""
        for client in self.clients.values():
            await client.aclose()


async def start(triton: WireTriton, port: int) -> Process:
    """Start a façade as an operator does, and wait until it is ready."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACADE_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "facade", "serve", "--port", str(port)),
        env={
            **kept,
            "FACADE_API_KEY": KEY,
            "FACADE_TRITON_URL": triton.url,
            "FACADE_METRICS_PORT": "",
            "FACADE_DRAIN_S": str(DRAIN_S),
            "FACADE_LOG_LEVEL": "error",
            "FACADE_CACHE": "false",
        },
    )
    async with asyncio.timeout(30), httpx.AsyncClient() as client:
        while not await _is_ready(client, f"http://127.0.0.1:{port}"):
            await asyncio.sleep(0.05)
    return process


async def test_a_rolling_restart_loses_nothing(triton: WireTriton) -> None:
    """Every request of every caller is answered with 200, while each façade is replaced by a new process."""
    ports = [free_port(), free_port()]
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    processes = list(await asyncio.gather(*(start(triton, port) for port in ports)))
    balancer = Balancer(urls)
    probing = asyncio.create_task(balancer.probe())
    try:
        async with asyncio.timeout(120):
            while len(balancer.ready) < len(urls):
                await asyncio.sleep(0.01)
            callers = [asyncio.create_task(balancer.call(number)) for number in range(CALLERS)]
            for index, url in enumerate(urls):
                processes[index].send_signal(signal.SIGTERM)
                assert await processes[index].wait() == 0
                processes[index] = await start(triton, ports[index])
                before = balancer.answered[url]
                while balancer.answered[url] < before + 20:
                    await asyncio.sleep(0.01)
        balancer.is_over = True
        await asyncio.gather(probing, *callers)
    finally:
        balancer.is_over = True
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
        await balancer.aclose()

    assert balancer.failures == []
    assert min(balancer.answered.values()) >= 20


async def _is_ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/health/ready")).status_code == 200
    except httpx.TransportError:
        return False
