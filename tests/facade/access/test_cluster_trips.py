"""Quotas that several façades count together in a real Redis Cluster of three nodes."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest
from redis import Redis
from redis.crc import key_slot

from facade.access.cluster_trips import REST_S, ClusterTrips
from facade.access.fallback_quotas import FallbackQuotas
from facade.access.keys import Key, Tier, to_digest
from facade.access.memory_quotas import MemoryQuotas
from facade.access.quotas import Lease, Quotas
from facade.access.redis_quotas import RedisQuotas
from facade.access.round_trips import Script, SharedCountLost
from facade.errors import RateLimited
from tests.facade.cache.redis_cluster import THIRDS, cluster_url, redis_cluster
from tests.facade.redis_server import RedisServer

COUNT = Script("return redis.call('INCRBY', KEYS[1], ARGV[1])")


@pytest.fixture(name="servers")
def _servers() -> Iterator[list[RedisServer]]:
    """A cluster for each test: they move slots and kill nodes."""
    with redis_cluster() as servers:
        yield servers


def key_on(node: int) -> Key:
    """Make a key whose counts are on one of the nodes."""
    first, last = THIRDS[node]
    name = next(f"key{n}" for n in range(10_000) if first <= key_slot(f"key{n}".encode()) <= last)
    return Key(name, to_digest(name), "t")


async def take(quotas: Quotas, tier: Tier, attempts: int, key: Key) -> list[Lease]:
    """Return the leases that *attempts* requests get."""
    leases: list[Lease] = []
    for _ in range(attempts):
        try:
            leases.append(await quotas.admit(key, tier))
        except RateLimited:
            continue
    return leases


async def until_answers(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until there is an answer."""
    async with asyncio.timeout(20):
        while True:
            try:
                await ask()
            except SharedCountLost:
                await asyncio.sleep(0.02)
            else:
                return


def test_facades_count_together_on_every_node(servers: list[RedisServer]) -> None:
    """Callers of each node: requests, tokens and places are one count for two façades."""

    async def run() -> None:
        one, two = (RedisQuotas(cluster_url(servers), timeout_s=5.0) for _ in range(2))
        tier = Tier("t", requests_per_minute=10, tokens_per_minute=1000, max_in_flight=6)
        for node in range(3):
            key = key_on(node)
            held = [*await take(one, tier, 3, key), *await take(two, tier, 5, key)]
            assert len(held) == 6
            for lease in held:
                await lease.release(tokens=100)
            await one.probe()
            await two.probe()
            (last, *rest) = [*await take(two, tier, 3, key), *await take(one, tier, 3, key)]
            assert last.headers()["x-ratelimit-remaining-tokens"] == "400"
            assert len(rest) == 3
        await one.aclose()
        await two.aclose()

    asyncio.run(run())


def test_a_moved_slot_is_followed(servers: list[RedisServer]) -> None:
    """The call that meets MOVED is sent to the new node, and nobody notices."""

    async def run() -> None:
        trips = ClusterTrips(cluster_url(servers), [COUNT], timeout_s=5.0)
        assert await trips.call(COUNT, ("k",), (1,)) == 1
        slot = key_slot(b"k")
        owner = next(n for n, (first, last) in enumerate(THIRDS) if first <= slot <= last)
        target = (owner + 1) % 3
        clients = [Redis(port=server.port) for server in servers]
        target_id = clients[target].execute_command("CLUSTER", "MYID").decode()
        clients[owner].delete("k")
        for client in (clients[target], *clients):
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
        trips._next_reading_at = 0.0  # as if the map had been read long ago
        assert await asyncio.gather(*(trips.call(COUNT, ("k",), (n,)) for n in range(1, 4))) == [1, 3, 6]
        assert clients[target].get("k") == b"6"
        for client in clients:
            client.close()
        await trips.aclose()

    asyncio.run(run())


def test_a_dead_node_costs_its_own_callers_one_wait(servers: list[RedisServer]) -> None:
    """Callers of other nodes don't notice, its own are told within bounds and then at once, until it is back."""

    async def run() -> None:
        trips = ClusterTrips(cluster_url(servers), [COUNT], timeout_s=0.2)
        dead, alive = key_on(1).name, key_on(2).name
        await until_answers(lambda: trips.call(COUNT, (dead,), (1,)))
        servers[1].freeze()
        began = time.monotonic()
        with pytest.raises(SharedCountLost):
            await trips.call(COUNT, (dead,), (1,))
        assert time.monotonic() - began < 0.5
        began = time.monotonic()
        for _ in range(50):
            with pytest.raises(SharedCountLost, match="a moment ago"):
                await trips.call(COUNT, (dead,), (1,))
        assert time.monotonic() - began < REST_S / 2
        await trips.call(COUNT, (alive,), (1,))
        with pytest.raises(SharedCountLost):
            await trips.call_everywhere(COUNT, "probe", (1,))

        servers[1].thaw()
        await until_answers(lambda: trips.call_everywhere(COUNT, "probe", (1,)))
        await trips.call(COUNT, (dead,), (1,))
        await trips.aclose()

    asyncio.run(run())


def test_without_a_cluster_everybody_is_told_at_once(servers: list[RedisServer]) -> None:
    """No server tells the map: a lost count within two timeouts, and counting comes back with the cluster."""

    async def run() -> None:
        for server in servers:
            server.freeze()
        trips = ClusterTrips(cluster_url(servers), [COUNT], timeout_s=0.1)
        began = time.monotonic()
        calls = [trips.call(COUNT, (f"k{n}",), (1,)) for n in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(answer, SharedCountLost) for answer in answers)
        assert time.monotonic() - began < 0.3
        with pytest.raises(SharedCountLost):
            await trips.call(COUNT, ("k",), (1,))
        for server in servers:
            server.thaw()
        await until_answers(lambda: trips.call(COUNT, ("k",), (1,)))
        await trips.aclose()

    asyncio.run(run())


def test_a_lost_cluster_leaves_the_share_and_a_found_one_the_whole(servers: list[RedisServer]) -> None:
    """A quarter of the limit while it is away, all of it when it is back, by itself."""

    async def run() -> list[int]:
        key, tier = key_on(0), Tier("t", requests_per_minute=100)
        quotas = FallbackQuotas(
            RedisQuotas(cluster_url(servers), timeout_s=1.0), MemoryQuotas(4), probe_every_s=0.1
        )
        counts = [len(await take(quotas, tier, 60, key))]
        for server in servers:
            server.kill()
        counts.append(len(await take(quotas, tier, 60, key)))
        assert not quotas.is_shared
        for server in servers:
            server.start()
        async with asyncio.timeout(20):
            while not quotas.is_shared:
                await asyncio.sleep(0.02)
        other = key_on(1)
        counts.append(len(await take(quotas, tier, 110, other)))
        await quotas.aclose()
        return counts

    assert asyncio.run(run()) == [60, 25, 100]
