"""Each item gets its own answer, whatever tier it comes from, whoever else asks, and whoever fails or leaves."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING

import pytest

from facade.cache.items import CacheAnswer, ItemCache, Uncached
from facade.cache.memory import MemoryTier
from facade.cache.policy import NO_DIRECTIVES, Directives
from facade.cache.redis_tier import RedisTier
from facade.errors import BackendUnavailable, CallerLeft, DeadlineExceeded, NotCached, Overloaded
from tests.facade.cache.recorder import PATIENT, Clock, Recorder
from tests.facade.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Sequence

KEYS = [b"k%d" % number for number in range(8)]


def answer_to(key: bytes) -> bytes:
    """The one right answer for *key*."""
    return b"answer to " + key


class Asker:
    """Asks a cache for keys, and computes what is missing."""

    def __init__(self, cache: ItemCache) -> None:
        self.cache = cache
        self.calls: list[list[bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None

    async def ask(
        self, keys: Sequence[bytes], directives: Directives = NO_DIRECTIVES, ttl_s: float = 60
    ) -> CacheAnswer:
        """Ask for *keys*."""

        async def compute(indexes: list[int]) -> list[bytes]:
            self.calls.append([keys[index] for index in indexes])
            await self.gate.wait()
            if self.failure is not None:
                raise self.failure
            return [answer_to(keys[index]) for index in indexes]

        return await self.cache.get_or_compute(keys, compute, ttl_s=ttl_s, directives=directives)


def local_cache(observer: Recorder | None = None, clock: Clock | None = None) -> ItemCache:
    """A cache without Redis."""
    memory = MemoryTier(10**6, clock=clock) if clock else MemoryTier(10**6)
    return ItemCache(memory, observer=observer)


def test_a_miss_is_computed_once_and_then_held() -> None:
    """The order is the request's, a key that comes twice is computed once, and the word is right."""

    async def run() -> None:
        clock = Clock()
        observer = Recorder()
        asker = Asker(local_cache(observer, clock))
        keys = [KEYS[2], KEYS[0], KEYS[2], KEYS[1]]
        first = await asker.ask(keys)
        assert first == CacheAnswer([answer_to(key) for key in keys], "miss", 0.0, 0, 0, 4)
        assert asker.calls == [[KEYS[2], KEYS[0], KEYS[1]]]
        clock.now += 7
        second = await asker.ask([KEYS[3], *keys])
        assert second.outcome == "partial"
        assert (second.age_s, second.from_memory, second.computed) == (7, 4, 1)
        third = await asker.ask(keys[:1])
        assert third == CacheAnswer([answer_to(KEYS[2])], "hit-memory", 7, 1, 0, 0)
        assert observer.counts == {"miss": 5, "hit-memory": 5}
        assert (await asker.ask([])).values == []

    asyncio.run(run())


def test_concurrent_requests_share_one_computation() -> None:
    """Ten requests for overlapping keys compute each key once, and count as misses."""

    async def run() -> None:
        asker = Asker(local_cache())
        asker.gate.clear()
        asking = [asyncio.create_task(asker.ask([KEYS[0], KEYS[1 + number % 3]])) for number in range(10)]
        while len(asker.calls) < 3:
            await asyncio.sleep(0)
        asker.gate.set()
        answers = await asyncio.gather(*asking)
        assert sorted(itertools.chain(*asker.calls)) == sorted(KEYS[:4])
        assert all(answer.outcome == "miss" for answer in answers)
        for number, answer in enumerate(answers):
            assert answer.values == [answer_to(KEYS[0]), answer_to(KEYS[1 + number % 3])]

    asyncio.run(run())


def test_the_first_caller_may_leave_and_the_others_are_answered() -> None:
    """Only when the last one has left is the computation cancelled."""

    async def run() -> None:
        asker = Asker(local_cache())
        asker.gate.clear()
        first, second = (asyncio.create_task(asker.ask(KEYS[:1])) for _ in range(2))
        while not asker.calls:
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        asker.gate.set()
        assert (await second).values == [answer_to(KEYS[0])]
        asker.gate.clear()
        last = asyncio.create_task(asker.ask(KEYS[1:2]))
        while len(asker.calls) < 2:
            await asyncio.sleep(0)
        last.cancel()
        await asyncio.wait([last])
        asker.gate.set()
        await asker.ask(KEYS[1:2])
        assert asker.calls == [[KEYS[0]], [KEYS[1]], [KEYS[1]]]

    asyncio.run(run())


def test_a_failure_is_everybodys_own_and_never_kept() -> None:
    """Headers that one caller's answer gets don't show in another's; the next request computes."""

    async def run() -> None:
        asker = Asker(local_cache())
        asker.failure = Overloaded("full", retry_after_s=2)
        errors = await asyncio.gather(*(asker.ask(KEYS[:1]) for _ in range(2)), return_exceptions=True)
        first, second = errors
        assert isinstance(first, Overloaded)
        assert isinstance(second, Overloaded)
        assert (first.message, first.retry_after_s) == ("full", 2)
        first.headers["x-seen"] = "by the first"
        assert second.headers == {}
        asker.failure = None
        assert (await asker.ask(KEYS[:1])).values == [answer_to(KEYS[0])]
        assert len(asker.calls) == 2

    asyncio.run(run())


@pytest.mark.parametrize("failure", [DeadlineExceeded("late"), CallerLeft("gone")])
def test_the_starters_own_deadline_is_not_the_joiners(failure: Exception) -> None:
    """Who joined a request that ran out of time computes for itself."""

    async def run() -> None:
        cache = local_cache()
        hasty, patient = Asker(cache), Asker(cache)
        hasty.gate.clear()
        hasty.failure = failure
        first = asyncio.create_task(hasty.ask(KEYS[:2]))
        while not hasty.calls:
            await asyncio.sleep(0)
        second = asyncio.create_task(patient.ask(KEYS[1:4]))
        while not patient.calls:
            await asyncio.sleep(0)
        hasty.gate.set()
        with pytest.raises(type(failure)):
            await first
        assert (await second).values == [answer_to(key) for key in KEYS[1:4]]
        assert patient.calls == [KEYS[2:4], [KEYS[1]]]

    asyncio.run(run())


def test_no_cache_computes_afresh_and_keeps_for_others() -> None:
    """A later request finds the new answer."""

    async def run() -> None:
        clock = Clock()
        observer = Recorder()
        asker = Asker(local_cache(observer, clock))
        await asker.ask(KEYS[:2])
        clock.now += 30
        fresh = await asker.ask([KEYS[0], KEYS[0]], Directives(no_cache=True))
        assert fresh == CacheAnswer([answer_to(KEYS[0])] * 2, "bypass", 0.0, 0, 0, 2)
        assert asker.calls == [KEYS[:2], KEYS[:1]]
        assert (await asker.ask(KEYS[:1])).age_s == 0
        assert (await asker.ask(KEYS[1:2])).age_s == 30
        assert observer.counts["bypass"] == 2

    asyncio.run(run())


@pytest.mark.parametrize(("directives", "ttl_s"), [(Directives(no_store=True), 60), (NO_DIRECTIVES, 0)])
def test_nothing_is_kept_where_nothing_may_be(directives: Directives, ttl_s: float) -> None:
    """no-store and a TTL of 0 leave no trace, and don't look either."""

    async def run() -> None:
        asker = Asker(local_cache())
        for _ in range(2):
            assert (await asker.ask(KEYS[:1], directives, ttl_s)).outcome == "bypass"
        assert (await asker.ask(KEYS[:1])).outcome == "miss"
        assert len(asker.calls) == 3

    asyncio.run(run())


def test_an_answer_that_must_not_be_kept_is_given_and_forgotten() -> None:
    """The others of the same call are kept."""

    async def run() -> None:
        cache = local_cache()

        async def compute(indexes: list[int]) -> list[bytes | Uncached]:
            return [Uncached(b"not for long"), *([b"kept"] * (len(indexes) - 1))]

        for directives in (NO_DIRECTIVES, Directives(no_cache=True)):
            answer = await cache.get_or_compute(KEYS[:2], compute, ttl_s=60, directives=directives)
            assert answer.values[0] == b"not for long"
            assert (await cache.get_or_compute(KEYS[:2], compute, ttl_s=60)).from_memory == 1

    asyncio.run(run())


def test_max_age_takes_what_is_young_enough() -> None:
    """Older answers are computed anew; 0 computes always."""

    async def run() -> None:
        clock = Clock()
        asker = Asker(local_cache(clock=clock))
        await asker.ask(KEYS[:1])
        clock.now += 10
        assert (await asker.ask(KEYS[:1], Directives(max_age_s=11))).outcome == "hit-memory"
        assert (await asker.ask(KEYS[:1], Directives(max_age_s=10))).outcome == "miss"
        assert (await asker.ask(KEYS[:1], Directives(max_age_s=5))).outcome == "hit-memory"
        assert (await asker.ask(KEYS[:1], Directives(max_age_s=0))).outcome == "miss"

    asyncio.run(run())


def test_only_if_cached_computes_nothing() -> None:
    """All stored is an answer, anything missing is refused."""

    async def run() -> None:
        asker = Asker(local_cache())
        await asker.ask(KEYS[:2])
        only = Directives(only_if_cached=True)
        assert (await asker.ask(KEYS[1::-1], only)).outcome == "hit-memory"
        with pytest.raises(NotCached):
            await asker.ask(KEYS[:3], only)
        with pytest.raises(NotCached):
            await asker.ask(KEYS[:1], Directives(only_if_cached=True, no_cache=True))
        assert len(asker.calls) == 1

    asyncio.run(run())


def test_only_if_cached_and_max_age_look_in_redis_too() -> None:
    """What another replica stored counts, with its true age."""

    async def run(server: RedisServer) -> None:
        clock = Clock()
        here, there = (
            ItemCache(MemoryTier(10**6), RedisTier(server.url, limits=PATIENT, clock=clock)) for _ in range(2)
        )
        await Asker(here).ask(KEYS[:1])
        await here._redis.drain(5)  # type: ignore[union-attr]
        clock.now += 20
        asker = Asker(there)
        answer = await asker.ask(KEYS[:1], Directives(only_if_cached=True, max_age_s=30))
        assert (answer.outcome, answer.age_s) == ("hit-redis", 20)
        again = await asker.ask(KEYS[:1])
        assert again.outcome == "hit-memory"
        assert 20 <= again.age_s < 25
        with pytest.raises(NotCached):
            await asker.ask(KEYS[:1], Directives(only_if_cached=True, max_age_s=10))
        assert (await asker.ask(KEYS[:1], Directives(max_age_s=10))).outcome == "miss"
        await here.aclose()
        await there.aclose()

    with RedisServer() as server:
        asyncio.run(run(server))


def test_forgetting_a_model_also_holds_for_what_is_being_computed() -> None:
    """An answer computed before the purge is given to who waits and not kept."""

    async def run() -> None:
        asker = Asker(local_cache())
        key = b"tf:c1:m:1:x"
        await asker.ask([key])
        assert asker.cache.forget("m") == 1
        asker.gate.clear()
        asking = asyncio.create_task(asker.ask([key]))
        while len(asker.calls) < 2:
            await asyncio.sleep(0)
        asker.cache.forget("other")
        asker.gate.set()
        await asking
        assert (await asker.ask([key])).outcome == "miss"

    asyncio.run(run())


def test_closing_ends_computations() -> None:
    """Who waits is told; nothing goes on behind the caller's back."""

    async def run() -> None:
        asker = Asker(local_cache())
        asker.gate.clear()
        asking = asyncio.create_task(asker.ask(KEYS[:1]))
        while not asker.calls:
            await asyncio.sleep(0)
        await asker.cache.aclose()
        with pytest.raises(BackendUnavailable):
            await asking
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_a_full_hit_of_one_item_costs_a_few_microseconds() -> None:
    """The best of several rounds is below 10 µs."""

    async def run() -> float:
        asker = Asker(local_cache())
        await asker.ask(KEYS[:1])

        async def compute(_indexes: list[int]) -> list[bytes]:
            raise AssertionError

        rounds = []
        for _ in range(10):
            began = time.perf_counter()
            for _ in range(500):
                await asker.cache.get_or_compute(KEYS[:1], compute, ttl_s=60)
            rounds.append((time.perf_counter() - began) / 500)
        return min(rounds)

    assert asyncio.run(run()) < 10e-6


async def test_an_answer_long_in_coming_is_looked_up_and_kept_apart() -> None:
    """Generations compute outside of the cache; the look counts and honours the caller as for all others."""
    recorder, memory = Recorder(), MemoryTier(1_000_000)
    cache = ItemCache(memory, observer=recorder)
    assert await cache.look(KEYS[0]) is None

    cache.keep(KEYS[0], b"whole", 60.0, epoch=cache.epoch)
    found = await cache.look(KEYS[0])
    assert found is not None
    assert (found.values, found.outcome) == ([b"whole"], "hit-memory")
    for directives in (Directives(no_cache=True), Directives(no_store=True), Directives(max_age_s=0)):
        assert await cache.look(KEYS[0], directives) is None
    with pytest.raises(NotCached):
        await cache.look(KEYS[1], Directives(only_if_cached=True))


async def test_an_answer_begun_before_a_purge_is_not_kept() -> None:
    """It may be what somebody wants gone."""
    cache = ItemCache(MemoryTier(1_000_000))
    epoch = cache.epoch
    cache.forget("minilm")
    cache.keep(KEYS[0], b"whole", 60.0, epoch=epoch)

    assert await cache.look(KEYS[0]) is None


async def test_one_stored_item_is_recalled_at_once_and_everything_else_is_not() -> None:
    """`recall` answers as `get_or_compute` would, and leaves misses, wishes, switched-off caches and lists to it."""
    recorder = Recorder()
    cache = local_cache(recorder)
    assert cache.recall(KEYS[:1], ttl_s=60) is None
    await Asker(cache).ask(KEYS[:2])

    found = cache.recall(KEYS[:1], ttl_s=60)
    assert found is not None
    assert found._replace(age_s=0) == (await Asker(cache).ask(KEYS[:1]))._replace(age_s=0)
    assert found.outcome == "hit-memory"
    assert cache.recall(KEYS[:2], ttl_s=60) is None
    assert cache.recall(KEYS[:1], ttl_s=0) is None
    assert cache.recall(KEYS[:1], ttl_s=60, directives=Directives(no_cache=True)) is None


async def test_what_can_not_be_computed_now_is_refused_before_anything_begins() -> None:
    """`check` is asked how many items are missing, and refuses them without a computation; stored ones are given."""
    cache = local_cache()
    asker = Asker(cache)
    await asker.ask(KEYS[:1])
    asked: list[int] = []

    def check(count: int) -> None:
        asked.append(count)
        raise Overloaded("Full.")

    async def compute(indexes: list[int]) -> list[bytes]:
        raise AssertionError(indexes)

    for keys in (KEYS[1:2], KEYS[:4]):
        with pytest.raises(Overloaded):
            await cache.get_or_compute(keys, compute, ttl_s=60, check=check)
    assert asked == [1, 3]
    stored = await cache.get_or_compute(KEYS[:1] * 2, compute, ttl_s=60, check=check)
    assert stored.values == [answer_to(KEYS[0])] * 2


async def test_a_refusal_spares_whoever_joins_what_is_under_way() -> None:
    """An item that somebody brings already needs no room, so that it is waited for and not refused."""
    cache = local_cache()
    asker = Asker(cache)
    asker.gate.clear()
    first = asyncio.create_task(asker.ask(KEYS[:1]))
    while not asker.calls:
        await asyncio.sleep(0)

    def check(count: int) -> None:
        raise AssertionError(count)

    async def compute(indexes: list[int]) -> list[bytes]:
        raise AssertionError(indexes)

    second = asyncio.create_task(cache.get_or_compute(KEYS[:1], compute, ttl_s=60, check=check))
    await asyncio.sleep(0)
    asker.gate.set()
    assert (await first).values == (await second).values == [answer_to(KEYS[0])]
