"""A request ends with its time or with its caller, and so does its work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest

from facade.errors import InvalidInput
from facade.middleware.deadline import find_timeout

if TYPE_CHECKING:
    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

REQUEST = {"model": "minilm", "input": "a"}


async def test_no_answer_in_time_is_504(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """The caller hears in time, and Triton's work is cancelled."""
    triton.gate.clear()

    answer = await client.post("/v1/embeddings", json=REQUEST, headers={"X-Request-Timeout": "0.1"})

    assert answer.status_code == 504
    assert answer.json()["error"]["code"] == "deadline_exceeded"
    await asyncio.wait_for(triton.cancelled.wait(), 5)


async def test_a_caller_that_leaves_cancels_the_work(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """A closed connection reaches Triton, and is counted as 499."""
    triton.gate.clear()
    async with httpx.AsyncClient(base_url=client.base_url, headers=client.headers) as leaving:
        request = asyncio.create_task(leaving.post("/v1/embeddings", json=REQUEST))
        await triton.reached.wait()
        request.cancel()
    await asyncio.wait_for(triton.cancelled.wait(), 5)

    metrics = (await client.get("/metrics")).text
    assert 'status="499"' in metrics


async def test_one_caller_leaving_leaves_the_other_alone(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """Merged work goes on for whoever stays."""
    triton.gate.clear()
    blockers = [asyncio.create_task(client.post("/v1/embeddings", json=REQUEST)) for _ in range(2)]
    await triton.reached.wait()
    async with httpx.AsyncClient(base_url=client.base_url, headers=client.headers) as other:
        leaving = asyncio.create_task(other.post("/v1/embeddings", json={"model": "minilm", "input": "b"}))
        staying = asyncio.create_task(client.post("/v1/embeddings", json={"model": "minilm", "input": "c"}))
        await asyncio.sleep(0)
        leaving.cancel()
    triton.gate.set()

    assert (await staying).status_code == 200
    assert [answer.status_code for answer in await asyncio.gather(*blockers)] == [200, 200]


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", "", "1s"])
async def test_a_time_that_is_none_is_refused(client: httpx.AsyncClient, value: str) -> None:
    """The header is named."""
    answer = await client.post("/v1/embeddings", json=REQUEST, headers={"X-Request-Timeout": value})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "X-Request-Timeout"


@pytest.mark.parametrize(("value", "expected"), [(None, 30), (b"2.5", 2.5), (b"1e9", 600), (b"inf", 600)])
def test_the_time_has_a_default_and_a_bound(value: bytes | None, expected: float) -> None:
    """Nobody waits for ever."""
    headers = {} if value is None else {b"x-request-timeout": value}

    assert find_timeout(headers, default_s=30, max_s=600) == expected


def test_a_time_that_is_none_names_the_header() -> None:
    """The error says what to send."""
    with pytest.raises(InvalidInput, match="positive number of seconds"):
        find_timeout({b"x-request-timeout": b"x"}, default_s=30, max_s=600)
