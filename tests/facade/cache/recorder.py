"""What the cache's tests share: limits that suit a busy machine, and an observer that remembers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from redis.asyncio import Redis

from facade.cache.breaker import BreakerPolicy
from facade.cache.redis_nodes import RedisLimits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATIENT = RedisLimits(lookup_budget_s=5.0, socket_timeout_s=5.0)
"""For tests in which time isn't the matter."""

HASTY = RedisLimits(
    lookup_budget_s=0.02,
    socket_timeout_s=0.05,
    breaker=BreakerPolicy(failures=3, open_s=0.1, open_limit_s=0.2),
)
"""The real budget, with a breaker that doesn't keep a test waiting."""


class Recorder:
    """Remembers what the cache reports."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.states: list[str] = []
        self.waits_s: list[float] = []

    def hit(self, tier: str, items: int) -> None:
        """Add up hits."""
        self.counts[f"hit-{tier}"] += items

    def miss(self, items: int) -> None:
        """Add up misses."""
        self.counts["miss"] += items

    def bypass(self, items: int) -> None:
        """Add up what was computed without a look."""
        self.counts["bypass"] += items

    def set_dropped(self, items: int, reason: str) -> None:
        """Add up what wasn't stored."""
        self.counts[f"dropped-{reason}"] += items

    def garbage(self, items: int) -> None:
        """Add up garbage."""
        self.counts["garbage"] += items

    def breaker_state(self, _name: str, state: str) -> None:
        """Keep the breaker's way."""
        self.states.append(state)

    def latency(self, _operation: str, elapsed_s: float) -> None:
        """Keep how long callers waited."""
        self.waits_s.append(elapsed_s)


class Clock:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Tell the time, in seconds."""
        return self.now


@asynccontextmanager
async def raw_client(url: str) -> AsyncIterator[Redis]:
    """A plain client, to look at what lies in Redis and to put garbage there."""
    client = Redis.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()


async def until(condition: Callable[[], bool], limit_s: float = 10.0) -> None:
    """Return once *condition* holds; nothing announces it, so it is asked again and again."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "the condition didn't come true in time"
        await asyncio.sleep(0.002)
