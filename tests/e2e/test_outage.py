"""Triton killed in mid-load: callers hear in time and in the right shape, and answers come back by themselves."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.conftest import KEY, start_facade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.local.triton import TritonServer as Server
    from tests.e2e.conftest import Facade

from deploy.local.triton import TritonServer

pytestmark = [pytest.mark.e2e, pytest.mark.anyio]

TIMEOUT_S = 5.0


@pytest.fixture(name="own_triton")
def _own_triton(repository: Path, triton: Server) -> Iterator[TritonServer]:
    """A Triton of this test's own, to be killed."""
    with TritonServer(repository) as own:
        yield own


@pytest.fixture(name="own_facade")
def _own_facade(own_triton: TritonServer) -> Iterator[Facade]:
    """A façade in front of it."""
    with start_facade(own_triton.grpc_url) as facade:
        yield facade


async def test_a_killed_triton_is_503_and_then_forgotten(
    own_triton: TritonServer, own_facade: Facade
) -> None:
    """Nothing but 200 and well-formed 503 before the deadline, and 200 again with the façade untouched."""
    seen: list[tuple[int, float]] = []
    wrong: list[str] = []
    was_down, is_back = asyncio.Event(), asyncio.Event()

    async def call_until_back(client: httpx.AsyncClient, number: int) -> None:
        count = 0
        while not is_back.is_set():
            count += 1
            started = time.monotonic()
            request = {"model": "minilm", "input": f"caller {number} text {count}"}
            answer = await client.post("/v1/embeddings", json=request)
            seen.append((answer.status_code, time.monotonic() - started))
            if answer.status_code == 200:
                if was_down.is_set():
                    is_back.set()
            elif answer.status_code == 503:
                error = answer.json()["error"]
                if error["type"] != "server_error" or "retry-after" not in answer.headers:
                    wrong.append(answer.text)
                await asyncio.sleep(0.05)
            else:
                wrong.append(f"{answer.status_code}: {answer.text}")

    headers = {"X-API-Key": KEY, "X-Request-Timeout": str(TIMEOUT_S)}
    async with httpx.AsyncClient(base_url=own_facade.url, headers=headers, timeout=30) as client:
        callers = [asyncio.create_task(call_until_back(client, number)) for number in range(8)]
        async with asyncio.timeout(120):
            while sum(status == 200 for status, _ in seen) < 50:
                await asyncio.sleep(0.01)
            own_triton.kill()
            while not any(status == 503 for status, _ in seen):
                await asyncio.sleep(0.01)
            assert (await client.get("/health/live")).status_code == 200
            own_triton.restart()
            was_down.set()
            await asyncio.gather(*callers)

    assert wrong == []
    assert max(took_s for _, took_s in seen) < TIMEOUT_S + 1
    assert own_facade.process.poll() is None
