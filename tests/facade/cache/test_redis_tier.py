"""The second tier answers in time whatever Redis does, and never with what isn't ours."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from facade.cache.frames import Frame, FrameKind, encode_frame
from facade.cache.redis_tier import ClaimState, LookupState, RedisTier
from tests.facade.cache.recorder import HASTY, PATIENT, Clock, Recorder, raw_client, until
from tests.facade.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = [b"tf:c1:m:1:%d" % number for number in range(10)]

SLACK_S = 0.08
"""What a busy machine may add to a wait of 20 ms, in seconds."""


async def states(tier: RedisTier, keys: list[bytes]) -> list[LookupState]:
    """What lies under *keys*."""
    return [lookup.state for lookup in await tier.get_many(keys)]


async def store(tier: RedisTier, values: dict[bytes, bytes], ttl_s: float = 60) -> None:
    """Write, and wait until it is done."""
    tier.set_many(values, ttl_s)
    await tier.drain(5)


def test_what_is_stored_is_found_with_its_age_and_what_is_left(server: RedisServer) -> None:
    """Ages are seconds since the answer was computed; what is missing is a miss."""

    async def run() -> None:
        clock = Clock()
        tier = RedisTier(server.url, limits=PATIENT, clock=clock)
        await store(tier, {KEYS[0]: b"a", KEYS[2]: b""})
        clock.now += 10
        first, missing, empty = await tier.get_many(KEYS[:3])
        assert first == (LookupState.HIT, b"a", 10, 50)
        assert missing.state is LookupState.MISS
        assert (empty.state, empty.value) == (LookupState.HIT, b"")
        clock.now += 50
        assert await states(tier, KEYS[:1]) == [LookupState.SPOILT]
        await tier.aclose()

    asyncio.run(run())


def test_redis_itself_forgets_after_the_ttl(server: RedisServer) -> None:
    """An answer carries its TTL in ms, so that Redis never fills with what nobody may use."""

    async def run() -> None:
        tier = RedisTier(server.url, limits=PATIENT)
        await store(tier, {KEYS[0]: b"a"}, 60)
        async with raw_client(server.url) as client:
            assert 55_000 < await client.pttl(KEYS[0]) <= 60_000
        await tier.aclose()

    asyncio.run(run())


def test_garbage_under_our_keys_is_counted_and_overwritten(server: RedisServer) -> None:
    """Text, cut frames, another key's answer and lists are never given out and do no harm."""

    async def run() -> None:
        observer = Recorder()
        tier = RedisTier(server.url, limits=PATIENT, observer=observer)
        await store(tier, {KEYS[0]: b"answer"})
        async with raw_client(server.url) as client:
            frame = await client.get(KEYS[0])
            assert frame is not None
            await client.set(KEYS[1], b"<html>")
            await client.set(KEYS[2], frame)
            await client.set(KEYS[3], frame[:-1])
            await client.rpush(KEYS[4], b"a", b"list")
        hit, *spoilt, listed = await states(tier, KEYS[:5])
        assert hit is LookupState.HIT
        assert spoilt == [LookupState.SPOILT] * 3
        assert listed is LookupState.MISS
        assert observer.counts["garbage"] == 3
        await store(tier, dict.fromkeys(KEYS[:5], b"new"))
        assert {lookup.value for lookup in await tier.get_many(KEYS[:5])} == {b"new"}
        await tier.aclose()

    asyncio.run(run())


def test_one_claims_a_key_and_the_value_takes_the_leases_place(server: RedisServer) -> None:
    """A second claim is refused before and after the value came; readers see the promise, then the answer."""

    async def run() -> None:
        here, there = (RedisTier(server.url, limits=PATIENT) for _ in range(2))
        assert [claim.state for claim in await here.claim(KEYS[:2], 10)] == [ClaimState.OURS] * 2
        assert [claim.state for claim in await there.claim(KEYS[:3], 10)] == [
            ClaimState.THEIRS,
            ClaimState.THEIRS,
            ClaimState.OURS,
        ]
        assert await states(there, KEYS[:1]) == [LookupState.LEASED]
        await store(here, {KEYS[0]: b"a"})
        assert (await there.get_many(KEYS[:1]))[0].value == b"a"
        assert [claim.state for claim in await there.claim(KEYS[:1], 10)] == [ClaimState.THEIRS]
        await here.aclose()
        await there.aclose()

    asyncio.run(run())


def test_a_lease_is_given_back_by_its_holder_alone(server: RedisServer) -> None:
    """Releasing what is no longer ours changes nothing; a lease of a dead replica runs out."""

    async def run() -> None:
        here, there = (RedisTier(server.url, limits=PATIENT) for _ in range(2))
        (ours,) = await here.claim(KEYS[:1], 10)
        there.release({KEYS[0]: b"not the lease"})
        await there.drain(5)
        assert await states(there, KEYS[:1]) == [LookupState.LEASED]
        here.release({KEYS[0]: ours.lease})
        await here.drain(5)
        assert await states(there, KEYS[:1]) == [LookupState.MISS]
        await here.claim(KEYS[:1], 0.05)
        async with asyncio.timeout(5):
            while (await there.claim(KEYS[:1], 10))[0].state is not ClaimState.OURS:
                await asyncio.sleep(0.01)
        await here.aclose()
        await there.aclose()

    asyncio.run(run())


def test_a_frozen_redis_costs_the_budget_and_then_nothing(server: RedisServer) -> None:
    """Each lookup waits 20 ms at most, the breaker ends even that, and all heals after the thaw."""

    async def run() -> None:
        observer = Recorder()
        tier = RedisTier(server.url, limits=HASTY, observer=observer)
        await store(tier, {KEYS[0]: b"a"})
        server.freeze()
        waits_s = []
        async with asyncio.timeout(10):
            while "open" not in observer.states:
                began = time.monotonic()
                assert await states(tier, KEYS) == [LookupState.FAILED] * len(KEYS)
                waits_s.append(time.monotonic() - began)
        assert sorted(waits_s)[len(waits_s) // 2] < HASTY.lookup_budget_s + SLACK_S
        began = time.monotonic()
        for _ in range(20):
            await tier.get_many(KEYS)
        assert time.monotonic() - began < 20 * HASTY.lookup_budget_s
        server.thaw()
        async with asyncio.timeout(10):
            while (await states(tier, KEYS))[0] is not LookupState.HIT:
                await asyncio.sleep(0.01)
        assert observer.states[-1] == "closed"
        await tier.aclose()

    asyncio.run(run())


def test_an_abandoned_read_keeps_its_connection_and_spoils_no_later_one(server: RedisServer) -> None:
    """A caller that is cancelled, or stops waiting, doesn't make the next one read its reply or reconnect."""

    async def run() -> None:
        tier = RedisTier(server.url, limits=replace(PATIENT, pool_size=1))
        await store(tier, {key: key for key in KEYS})
        async with raw_client(server.url) as client:
            before = (await client.info("stats"))["total_connections_received"]
            for _ in range(20):
                given_up = asyncio.create_task(tier.get_many(KEYS[:5]))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                given_up.cancel()
                await tier.get_many(KEYS[3:4], within_s=1e-6)
                values = [lookup.value for lookup in await tier.get_many(KEYS[5:])]
                assert values == KEYS[5:]
            assert (await client.info("stats"))["total_connections_received"] == before
        await tier.aclose()

    asyncio.run(run())


def test_a_full_redis_refuses_writes_and_goes_on_answering(server: RedisServer) -> None:
    """Out of memory without eviction: reads hit, writes are counted as refused, claims are unknown."""

    async def run() -> None:
        observer = Recorder()
        tier = RedisTier(server.url, limits=PATIENT, observer=observer)
        await store(tier, {KEYS[0]: b"a"})
        async with raw_client(server.url) as client:
            await client.config_set("maxmemory", "1")
        await store(tier, {KEYS[1]: b"b", KEYS[2]: b"c"})
        assert observer.counts["dropped-refused"] == 2
        assert await states(tier, KEYS[:2]) == [LookupState.HIT, LookupState.MISS]
        assert [claim.state for claim in await tier.claim(KEYS[1:2], 10)] == [ClaimState.UNKNOWN]
        assert observer.states == []
        await tier.aclose()

    asyncio.run(run())


def test_a_full_redis_that_evicts_stays_within_its_memory() -> None:
    """With allkeys-lru everything is taken, and what is still there is right."""

    async def run(url: str) -> None:
        observer = Recorder()
        tier = RedisTier(url, limits=PATIENT, observer=observer)
        keys = [b"tf:c1:m:1:%d" % number for number in range(4000)]
        for start in range(0, len(keys), 200):
            await store(tier, {key: key * 100 for key in keys[start : start + 200]})
        lookups = await tier.get_many(keys)
        hits = [key for key, lookup in zip(keys, lookups, strict=True) if lookup.value == key * 100]
        assert 0 < len(hits) < len(keys)
        assert len(hits) == sum(lookup.state is LookupState.HIT for lookup in lookups)
        assert observer.counts.total() == 0
        await tier.aclose()

    with RedisServer(args=["--maxmemory", "4mb", "--maxmemory-policy", "allkeys-lru"]) as server:
        asyncio.run(run(server.url))


def test_redis_gone_and_back_is_noticed_without_help(server: RedisServer) -> None:
    """Lookups fail while it is gone, writes are counted as lost, and both work again after the restart."""

    async def run() -> None:
        observer = Recorder()
        tier = RedisTier(server.url, limits=HASTY, observer=observer)
        await tier.get_many(KEYS)
        server.kill()
        async with asyncio.timeout(10):
            while "open" not in observer.states:
                assert await states(tier, KEYS[:1]) == [LookupState.FAILED]
        await store(tier, {KEYS[0]: b"a"})
        assert observer.counts["dropped-unavailable"] == 1
        server.start()
        async with asyncio.timeout(10):
            while (await states(tier, KEYS[:1]))[0] is not LookupState.HIT:
                await store(tier, {KEYS[0]: b"a"})
        assert observer.states[-1] == "closed"
        await tier.aclose()

    asyncio.run(run())


def test_writes_wait_in_a_bounded_number(server: RedisServer) -> None:
    """What a slow Redis can't take is dropped and counted, and a caller never waits for it."""

    async def run() -> None:
        observer = Recorder()
        tier = RedisTier(server.url, limits=replace(PATIENT, pending_writes=5), observer=observer)
        await tier.get_many(KEYS)
        server.freeze()
        for _ in range(20):
            tier.set_many({KEYS[0]: b"a", KEYS[1]: b"b"}, 60)
        assert observer.counts["dropped-busy"] == 30
        server.thaw()
        await tier.drain(5)
        assert await states(tier, KEYS[:2]) == [LookupState.HIT] * 2
        await tier.aclose()

    asyncio.run(run())


def test_a_standstill_of_our_own_loop_is_not_blamed_on_redis(server: RedisServer) -> None:
    """Wherever on a lookup's way this process stands still, the answer is taken and the breaker stays closed."""

    async def run() -> None:
        observer = Recorder()
        tier = RedisTier(server.url, limits=replace(HASTY, socket_timeout_s=5), observer=observer)
        await store(tier, {KEYS[0]: b"a"})
        found = []
        for step in range(10):
            turns = iter(range(step))

            def stand_still(turns: Iterator[int] = turns) -> None:
                # After some turns of the loop, block it for longer than the budget.
                if next(turns, None) is None:
                    time.sleep(0.04)
                else:
                    asyncio.get_running_loop().call_soon(stand_still, turns)

            stand_still()
            found.append((await states(tier, KEYS[:1]))[0])
        assert found.count(LookupState.HIT) >= 9
        assert observer.states == []
        await tier.aclose()

    asyncio.run(run())


@pytest.mark.parametrize("left_s", [0, -1])
def test_no_budget_left_asks_nothing(server: RedisServer, left_s: float) -> None:
    """A request that has waited its 20 ms claims nothing and is told that nobody knows."""

    async def run() -> None:
        tier = RedisTier(server.url, limits=PATIENT)
        (claim,) = await tier.claim(KEYS[:1], 10, within_s=left_s)
        assert claim.state is ClaimState.UNKNOWN
        assert await states(tier, KEYS[:1]) == [LookupState.MISS]
        await tier.aclose()

    asyncio.run(run())


def test_stamps_are_read_and_nonsense_among_them_is_left_out(server: RedisServer) -> None:
    """No Redis, no stamps; a stamp that is no number is none."""

    async def run() -> None:
        tier = RedisTier(server.url, limits=PATIENT)
        assert await tier.purge_stamps() == {}
        async with raw_client(server.url) as client:
            await client.hset("tf:purges", mapping={"tf:c1:m:": 12, "tf:c1:n:": "soon"})
            assert await tier.purge_stamps() == {b"tf:c1:m:": 12}
            await client.set("tf:purges", "text")
            assert await tier.purge_stamps() is None
        await tier.aclose()
        gone = RedisTier(f"redis://127.0.0.1:{free_port()}/0", limits=PATIENT)
        assert await gone.purge_stamps() is None
        await gone.aclose()

    asyncio.run(run())


def test_closing_ends_what_is_under_way(server: RedisServer) -> None:
    """Reads and writes that hang on a frozen Redis don't hold the process."""

    async def run() -> None:
        tier = RedisTier(server.url, limits=PATIENT)
        await tier.get_many(KEYS)
        server.freeze()
        tier.set_many({KEYS[0]: b"a"}, 60)
        reading = asyncio.create_task(tier.get_many(KEYS, within_s=0.01))
        await reading
        await until(lambda: len(tier._reads) == 1)
        async with asyncio.timeout(2):
            await tier.aclose()
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())


def test_a_frame_of_an_old_lease_does_not_hold_anybody(server: RedisServer) -> None:
    """A lease whose time is over by its own account is not waited for."""

    async def run() -> None:
        clock = Clock()
        tier = RedisTier(server.url, limits=PATIENT, clock=clock)
        async with raw_client(server.url) as client:
            lease = Frame(FrameKind.LEASE, 0, int(clock.now * 1000), b"token")
            await client.set(KEYS[0], encode_frame(KEYS[0], lease))
        assert await states(tier, KEYS[:1]) == [LookupState.SPOILT]
        await tier.aclose()

    asyncio.run(run())
