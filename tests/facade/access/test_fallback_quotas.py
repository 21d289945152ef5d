"""Counting together while Redis answers, alone while it doesn't, and together again."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from facade.access.fallback_quotas import FallbackQuotas
from facade.access.keys import Key, Tier, to_digest
from facade.access.memory_quotas import MemoryQuotas
from facade.access.redis_quotas import RedisQuotas
from facade.access.round_trips import SharedCountLost
from facade.errors import RateLimited
from tests.facade.redis_server import RedisServer

KEY = Key("alice", to_digest("a"), "t")
TIER = Tier("t", requests_per_minute=100, tokens_per_minute=10**6, max_in_flight=40)
REPLICAS = 4


@pytest.fixture(name="server")
def _server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


async def admitted(quotas: FallbackQuotas, attempts: int) -> int:
    """Count how many of *attempts* get in; each is released at once."""
    count = 0
    for _ in range(attempts):
        try:
            lease = await quotas.admit(KEY, TIER)
        except RateLimited:
            continue
        count += 1
        await lease.release(tokens=1)
    return count


async def until_shared(quotas: FallbackQuotas, *, is_shared: bool) -> None:
    """Wait until counting is shared, or local."""
    deadline = time.monotonic() + 10
    while quotas.is_shared is not is_shared:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def make_quotas(server: RedisServer, changes: list[bool], timeout_s: float = 1.0) -> FallbackQuotas:
    """Make quotas that fall back from *server* to a quarter, and probe often."""
    return FallbackQuotas(
        RedisQuotas(server.url, timeout_s=timeout_s),
        MemoryQuotas(REPLICAS),
        probe_every_s=0.1,
        on_change=changes.append,
    )


def test_a_killed_redis_leaves_the_share_and_a_restarted_one_the_whole(server: RedisServer) -> None:
    """100 shared; then 25 of a quarter; then, from an empty Redis, 100 again, all by itself."""
    changes: list[bool] = []

    async def run() -> list[int]:
        quotas = make_quotas(server, changes)
        counts = [await admitted(quotas, 110)]
        held = await quotas.admit(KEY, Tier("t", max_in_flight=40))
        server.kill()
        counts.append(await admitted(quotas, 110))
        assert not quotas.is_shared
        await held.release()
        server.start()
        await until_shared(quotas, is_shared=True)
        counts.append(await admitted(quotas, 110))
        assert quotas.fallbacks == 110
        await quotas.aclose()
        return counts

    assert asyncio.run(run()) == [100, 25, 100]
    assert changes == [False, True]


def test_a_frozen_redis_costs_a_bounded_wait_and_then_nothing(server: RedisServer) -> None:
    """At most 100 ms for each of the first requests, at most 20 ms for those after, and back when it thaws."""
    changes: list[bool] = []

    async def run() -> list[float]:
        quotas = make_quotas(server, changes, timeout_s=0.05)
        assert await admitted(quotas, 1) == 1
        server.freeze()
        waits = []
        for _ in range(20):
            began = time.monotonic()
            await admitted(quotas, 1)
            waits.append(time.monotonic() - began)
        assert not quotas.is_shared
        server.thaw()
        await until_shared(quotas, is_shared=True)
        assert await admitted(quotas, 1) == 1
        await quotas.aclose()
        return waits

    waits = asyncio.run(run())
    slow = [wait for wait in waits if wait > 0.02]
    assert max(waits) <= 0.1
    assert len(slow) <= 3
    assert max(waits[5:]) <= 0.02
    assert changes == [False, True]


def test_many_callers_at_once_wait_once_for_a_frozen_redis(server: RedisServer) -> None:
    """Two hundred requests that arrive together are all counted within one bound, not one after the other."""

    async def run() -> float:
        quotas = make_quotas(server, [], timeout_s=0.05)
        assert await admitted(quotas, 1) == 1
        server.freeze()
        began = time.monotonic()
        counts = await asyncio.gather(*(admitted(quotas, 1) for _ in range(200)))
        elapsed_s = time.monotonic() - began
        assert sum(counts) == 25
        await quotas.aclose()
        return elapsed_s

    assert asyncio.run(run()) <= 0.2


def test_a_full_redis_still_counts() -> None:
    """A Redis without memory left refuses other writers; counts, small as they are, and leases go on."""
    changes: list[bool] = []

    async def run(server: RedisServer) -> None:
        shared = RedisQuotas(server.url, timeout_s=1.0, lease_ttl_s=0.3)
        quotas = FallbackQuotas(shared, MemoryQuotas(REPLICAS), on_change=changes.append)
        held = await quotas.admit(KEY, TIER)
        assert await admitted(quotas, 110) == 99
        renewed_until = time.monotonic() + 1.0
        crowded = Tier("t", max_in_flight=1)
        while time.monotonic() < renewed_until:
            with pytest.raises(RateLimited):
                await quotas.admit(KEY, crowded)
            await asyncio.sleep(0.02)
        await shared.probe()
        await held.release()
        await quotas.admit(KEY, crowded)
        await quotas.aclose()

    with RedisServer(args=["--maxmemory", "1", "--maxmemory-policy", "noeviction"]) as server:
        asyncio.run(run(server))
    assert changes == []


def test_a_redis_that_only_reads_is_left_alone(server: RedisServer) -> None:
    """A server that was made a replica answers, but doesn't count; probes see that and stay away until it does."""
    changes: list[bool] = []

    async def run() -> None:
        quotas = make_quotas(server, changes)
        client = Redis.from_url(server.url)
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        assert await admitted(quotas, 50) == 25
        await asyncio.sleep(0.5)  # several probes, none of which may succeed
        assert changes == [False]
        await client.execute_command("REPLICAOF", "NO", "ONE")
        await until_shared(quotas, is_shared=True)
        await client.aclose()
        await quotas.aclose()

    asyncio.run(run())


def test_a_reached_limit_is_no_failure_of_redis(server: RedisServer) -> None:
    """Refusals come from the shared count, and single failures between answers don't open anything."""
    changes: list[bool] = []

    async def run() -> None:
        quotas = make_quotas(server, changes)
        assert await admitted(quotas, 150) == 100
        for _ in range(5):
            quotas._shared.on_lost(SharedCountLost("once"))
            assert await admitted(quotas, 1) == 0
        for _ in range(3):
            server.restart()
            await admitted(quotas, 3)
        assert quotas.is_shared
        unlimited = await quotas.admit(KEY, Tier("free"))
        assert unlimited.headers() == {}
        await quotas.aclose()

    asyncio.run(run())
    assert changes == []
