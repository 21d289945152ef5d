"""Callers at a steady rate, whatever becomes of their calls; every answer is checked."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, NamedTuple, Self

import httpx
import numpy as np

from tests.security.small_repository import MODEL_NAME

if TYPE_CHECKING:
    from tests.stack import Facade


class Outcome(NamedTuple):
    """What one caller got."""

    at: float
    """When it asked, on the monotonic clock."""

    took_s: float
    """Seconds until it had an answer."""

    status: int
    """HTTP status; 0 where there was no answer."""

    version: str
    """Version that answered."""

    is_right: bool
    """Whether the answer belongs to the question, or is an error that says so."""


class Load:
    """
    Open-loop load on one façade, in the background of an ``async with``.

    Args:
        facade: Who is called.

        per_s: Calls a second.

        timeout_s: The callers' deadline.
    """

    def __init__(self, facade: Facade, *, per_s: float = 30, timeout_s: float = 5.0) -> None:
        self._client = httpx.AsyncClient(
            base_url=facade.url,
            headers={**facade.headers, "X-Request-Timeout": str(timeout_s)},
            timeout=timeout_s + 10,
            limits=httpx.Limits(max_connections=500),
        )
        self._per_s = per_s
        self._timeout_s = timeout_s
        self._calls: set[asyncio.Task[None]] = set()
        self._driver: asyncio.Task[None] | None = None
        self.outcomes: list[Outcome] = []

    async def __aenter__(self) -> Self:
        self._driver = asyncio.create_task(self._drive())
        await self.until_answered(20)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._driver is not None
        self._driver.cancel()
        await asyncio.gather(self._driver, *self._calls, return_exceptions=True)
        await self._client.aclose()

    async def until_answered(self, count: int) -> None:
        """Wait until so many calls that begin from now on have ended."""
        now = time.monotonic()
        async with asyncio.timeout(120):
            while sum(outcome.at >= now for outcome in self.outcomes) < count:
                await asyncio.sleep(0.02)

    async def until_version(self, version: str, count: int = 10) -> None:
        """Wait until the last so many answers are of one version."""
        async with asyncio.timeout(120):
            while {one.version for one in self.outcomes[-count:]} != {version}:
                await asyncio.sleep(0.02)

    def check_all_answered(self) -> None:
        """Fail unless every caller had its right answer before its deadline."""
        bad = [one for one in self.outcomes if one.status != 200 or not one.is_right]
        assert bad == [], f"{len(bad)} of {len(self.outcomes)}"
        assert max(one.took_s for one in self.outcomes) < self._timeout_s

    async def _drive(self) -> None:
        next_at, number = time.monotonic(), 0
        while True:
            number += 1
            call = asyncio.create_task(self._call(f"call {number} {'abcd'[number % 4] * (number % 7)}"))
            self._calls.add(call)
            call.add_done_callback(self._calls.discard)
            next_at += 1 / self._per_s
            await asyncio.sleep(max(0.0, next_at - time.monotonic()))

    async def _call(self, text: str) -> None:
        at = time.monotonic()
        try:
            answer = await self._client.post("/v1/embeddings", json={"model": MODEL_NAME, "input": text})
            status, version = answer.status_code, answer.headers.get("x-model-version", "")
            is_right = _is_right(text, answer) if status == 200 else "error" in answer.json()
        except httpx.HTTPError:
            status, version, is_right = 0, "", False
        self.outcomes.append(Outcome(at, time.monotonic() - at, status, version, is_right))


def _is_right(text: str, answer: httpx.Response) -> bool:
    expected = np.array([1 + text.count(letter) for letter in "abcd"], "float32")
    expected /= np.linalg.norm(expected)
    return bool(np.allclose(answer.json()["data"][0]["embedding"], expected, atol=1e-6))


async def read_gauge(facade: Facade, name: str) -> float:
    """Read one metric without labels."""
    async with httpx.AsyncClient(base_url=facade.url, headers=facade.headers, timeout=20) as client:
        text = (await client.get("/metrics")).text
    found = [line.split()[-1] for line in text.splitlines() if line.startswith(f"{name} ")]
    assert found, f"{name} is not among the metrics"
    return float(found[0])


async def until_up(facade: Facade, count: int, timeout_s: float = 60.0) -> float:
    """Wait until so many Tritons get calls; the seconds that took."""
    started = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while await read_gauge(facade, "facade_triton_endpoints_up") != count:
            await asyncio.sleep(0.05)
    return time.monotonic() - started
