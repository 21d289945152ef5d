"""Whatever the tiers hold, whoever asks at once, fails or leaves: each item gets its own answer at its own index."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facade.cache.items import CacheAnswer, ItemCache
from facade.cache.memory import MemoryTier
from facade.cache.policy import NO_DIRECTIVES, Directives
from facade.cache.redis_tier import RedisTier
from facade.errors import NotCached
from tests.facade.cache.recorder import PATIENT, raw_client
from tests.facade.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = [b"k%d" % number for number in range(8)]
EXAMPLES = itertools.count()


def answer_to(key: bytes) -> bytes:
    """The one right answer for *key*."""
    return b"answer to " + key


@dataclass(frozen=True)
class Plan:
    """One of several requests that run at the same time."""

    numbers: list[int]
    """Which keys it asks for, in this order, some twice."""

    directives: Directives
    """What it asks of the cache."""

    fails: bool
    """Whether its own computation fails."""

    starts_after: int
    """Turns of the loop before it asks."""

    computes_for: int
    """Turns of the loop that its computation takes."""

    leaves_after: int | None
    """Turns of the loop after which its caller leaves."""


DIRECTIVES = st.sampled_from(
    [
        NO_DIRECTIVES,
        NO_DIRECTIVES,
        NO_DIRECTIVES,
        Directives(no_cache=True),
        Directives(no_store=True),
        Directives(max_age_s=0),
        Directives(max_age_s=100),
        Directives(only_if_cached=True),
    ]
)
PLANS = st.lists(
    st.builds(
        Plan,
        st.lists(st.integers(0, 7), min_size=1, max_size=10),
        DIRECTIVES,
        st.sampled_from([False, False, False, True]),
        st.integers(0, 8),
        st.integers(0, 8),
        st.none() | st.integers(0, 20),
    ),
    min_size=1,
    max_size=6,
)
STATES = st.lists(st.sampled_from(["nothing", "memory", "redis", "garbage", "lease"]), min_size=8, max_size=8)


async def turn(times: int) -> None:
    """Let the loop go round."""
    for _ in range(times):
        await asyncio.sleep(0)


class Injected(Exception):
    """The failure of a computation that was planned to fail."""


async def carry_out(cache: ItemCache, keys: list[bytes], plan: Plan) -> CacheAnswer:
    """Ask as planned, and leave as planned."""
    wanted = [keys[number] for number in plan.numbers]

    async def compute(indexes: list[int]) -> list[bytes]:
        assert len({wanted[index] for index in indexes}) == len(indexes), (
            "a key was computed twice in one call"
        )
        await turn(plan.computes_for)
        if plan.fails:
            raise Injected
        return [answer_to(wanted[index]) for index in indexes]

    await turn(plan.starts_after)
    asking = asyncio.create_task(cache.get_or_compute(wanted, compute, ttl_s=60, directives=plan.directives))
    if plan.leaves_after is not None:
        await turn(plan.leaves_after)
        asking.cancel()
    return await asking


def check(plans: list[Plan], keys: list[bytes], results: list[CacheAnswer | BaseException]) -> None:
    """Each answer is right at each index; each failure has a reason that somebody planned."""
    for plan, result in zip(plans, results, strict=True):
        if isinstance(result, CacheAnswer):
            assert result.values == [answer_to(keys[number]) for number in plan.numbers]
            assert result.from_memory + result.from_redis + result.computed == len(plan.numbers)
        elif isinstance(result, NotCached):
            assert plan.directives.only_if_cached
        elif isinstance(result, asyncio.CancelledError):
            assert plan.leaves_after is not None
        else:
            assert isinstance(result, Injected)
            assert any(other.fails for other in plans)


@given(PLANS, st.sets(st.integers(0, 7)))
def test_every_item_gets_its_own_answer_without_redis(plans: list[Plan], known: set[int]) -> None:
    """Whatever is in memory, whoever asks at once, fails or leaves: right at each index, and nothing left over."""

    async def run() -> None:
        memory = MemoryTier(10**6)
        for number in known:
            memory.set(KEYS[number], answer_to(KEYS[number]), 60)
        cache = ItemCache(memory)
        results = await asyncio.gather(
            *(carry_out(cache, KEYS, plan) for plan in plans), return_exceptions=True
        )
        check(plans, KEYS, results)
        await turn(5)
        assert len(cache._flights) == 0
        assert len(asyncio.all_tasks()) == 1
        await cache.aclose()

    asyncio.run(run())


@pytest.fixture(name="shared_server", scope="module")
def _shared_server() -> Iterator[RedisServer]:
    """One Redis for all examples; each has keys of its own."""
    with RedisServer() as server:
        yield server


async def prepare(url: str, memory: MemoryTier, keys: list[bytes], states: list[str]) -> None:
    """Bring each key into the state that the example wants."""
    tier = RedisTier(url, limits=PATIENT)
    stored = {}
    for key, state in zip(keys, states, strict=True):
        if state == "memory":
            memory.set(key, answer_to(key), 60)
        elif state == "redis":
            stored[key] = answer_to(key)
        elif state == "lease":
            await tier.claim([key], 0.05)
    tier.set_many(stored, 60)
    await tier.drain(5)
    await tier.aclose()
    async with raw_client(url) as client:
        for key, state in zip(keys, states, strict=True):
            if state == "garbage":
                await client.set(key, b"tF\x01 not ours")


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(PLANS, STATES)
def test_every_item_gets_its_own_answer_with_redis(
    shared_server: RedisServer, plans: list[Plan], states: list[str]
) -> None:
    """The same with two replicas on one Redis that holds answers, garbage and promises nobody keeps."""

    async def run() -> None:
        memory = MemoryTier(10**6)
        keys = [b"tf:c1:m:1:%d-%d" % (next(EXAMPLES), number) for number in range(8)]
        await prepare(shared_server.url, memory, keys, states)
        caches = [
            ItemCache(tier, RedisTier(shared_server.url, limits=PATIENT), lease_s=0.3)
            for tier in (memory, MemoryTier(10**6))
        ]
        asking = [carry_out(caches[place % 2], keys, plan) for place, plan in enumerate(plans)]
        results = await asyncio.gather(*asking, return_exceptions=True)
        check(plans, keys, results)
        for cache in caches:
            await cache.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
