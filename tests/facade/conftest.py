"""A façade in this process, behind the real HTTP server and before a Triton at the wire."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from pydantic import SecretStr

from facade.app import build_app
from facade.settings import Settings
from tests.facade.serving import serving
from tests.facade.wire_triton import WireTriton

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "a-key-for-tests"


@pytest.fixture(scope="session", autouse=True)
async def _one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep one loop for the whole run: gRPC's poller is one a process and doesn't like loops that close."""
    yield  # noqa: PT022  # a loop lives as long as an unfinished fixture


@pytest.fixture(name="triton")
async def _triton() -> AsyncIterator[WireTriton]:
    """A Triton at the wire."""
    triton = WireTriton()
    await triton.start()
    yield triton
    await triton.stop()


@pytest.fixture(name="settings")
def _settings(triton: WireTriton) -> Settings:
    """Settings that find it, and look often."""
    return Settings(
        triton_url=triton.url,
        catalogue_interval_s=0.05,
        environment="development",
        api_key=SecretStr(KEY),
        failures_per_minute=1000,
    )


@pytest.fixture(name="client")
async def _client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """A caller with a key."""
    async with (
        serving(build_app(settings)) as base_url,
        httpx.AsyncClient(base_url=base_url, headers={"X-API-Key": KEY}) as client,
    ):
        await until_ready(client)
        yield client


async def until_ready(client: httpx.AsyncClient) -> None:
    """Wait until the façade has seen its Triton."""
    async with asyncio.timeout(10):
        while (await client.get("/health/ready")).status_code != 200:
            await asyncio.sleep(0.01)


async def until_served(client: httpx.AsyncClient, *names: str) -> None:
    """Wait until the façade has seen models of these names."""
    async with asyncio.timeout(10):
        while not set(names) <= {entry["id"] for entry in (await client.get("/v1/models")).json()["data"]}:
            await asyncio.sleep(0.01)
