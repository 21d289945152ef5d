"""A purged model is forgotten in Redis, on all nodes, and in each running façade; the others stay."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from redis.exceptions import RedisError

from facade.cache.items import ItemCache
from facade.cache.keys import ItemKeys
from facade.cache.memory import MemoryTier
from facade.cache.purge import purge_model
from facade.cache.redis_tier import LookupState, RedisTier
from tests.facade.cache.recorder import PATIENT, until
from tests.facade.cache.redis_cluster import cluster_url, redis_cluster
from tests.facade.redis_server import RedisServer, free_port


def keys_of(model: str, count: int) -> list[bytes]:
    """Keys of two versions of *model*."""
    versions = [
        ItemKeys(scope="shared", model=model, version=version, task="embedding", parameters={})
        for version in (1, 2)
    ]
    return [versions[number % 2].key(b"%d" % number) for number in range(count)]


async def check_purge(url: str) -> None:
    """Purge one of three models that are stored and held in memory."""
    tier, memory = RedisTier(url, limits=PATIENT), MemoryTier(10**7)
    cache = ItemCache(memory, tier)
    doomed, namesake, other = keys_of("mini", 1500), keys_of("mini*", 10), keys_of("minilm", 10)
    # A cluster's map is read on first use.
    await tier.get_many(doomed[:1])
    tier.set_many(dict.fromkeys(doomed + namesake + other, b"v"), 60)
    await tier.drain(10)
    for key in doomed + other:
        memory.set(key, b"v", 60)
    following = asyncio.create_task(cache.follow_purges(0.01))
    # It takes what it finds at first for old news: purge another model until it takes notice.
    marker = keys_of("marker", 1)[0]
    memory.set(marker, b"v", 60)
    while memory.get(marker) is not None:
        await purge_model(url, "marker")

    assert await purge_model(url, "mini") == 1500
    await until(lambda: len(memory) == len(other))
    assert {lookup.state for lookup in await tier.get_many(doomed)} == {LookupState.MISS}
    assert {lookup.state for lookup in await tier.get_many(namesake + other)} == {LookupState.HIT}

    # What is computed after the purge stays: a stamp counts once.
    memory.set(doomed[0], b"new", 60)
    assert await purge_model(url, "mini") == 0
    await until(lambda: memory.get(doomed[0]) is None)
    memory.set(doomed[0], b"new", 60)
    for _ in range(5):
        await tier.purge_stamps()
        await asyncio.sleep(0.01)  # several looks of the follower, which announces none of them
    assert memory.get(doomed[0]) is not None

    following.cancel()
    with suppress(asyncio.CancelledError):
        await following
    await cache.aclose()


def test_a_purge_takes_one_model_from_redis_and_from_memory() -> None:
    """All its versions, and not those whose names begin alike or look like a pattern."""
    with RedisServer() as server:
        asyncio.run(check_purge(server.url))


def test_a_purge_reaches_all_nodes_of_a_cluster() -> None:
    """The same with the keys on three servers."""
    with redis_cluster() as servers:
        asyncio.run(check_purge(cluster_url(servers)))


def test_a_redis_that_is_away_is_said_and_not_passed_over() -> None:
    """An operator must know that nothing was purged."""
    with pytest.raises(RedisError):
        asyncio.run(purge_model(f"redis://127.0.0.1:{free_port()}/0", "m", timeout_s=1))


def test_following_survives_a_redis_that_goes_and_comes() -> None:
    """A purge after the outage is heard of."""

    async def run(server: RedisServer) -> None:
        memory = MemoryTier(10**6)
        cache = ItemCache(memory, RedisTier(server.url, limits=PATIENT))
        following = asyncio.create_task(cache.follow_purges(0.01))
        (key,) = keys_of("m", 1)
        memory.set(key, b"v", 600)
        while memory.get(key) is not None:
            await purge_model(server.url, "m")
        memory.set(key, b"v", 600)
        server.restart()
        await purge_model(server.url, "m")
        await until(lambda: len(memory) == 0)
        assert not following.done()
        following.cancel()
        await asyncio.wait([following])
        await cache.aclose()

    with RedisServer() as server:
        asyncio.run(run(server))


def test_without_redis_there_is_nothing_to_follow() -> None:
    """The follower ends at once."""
    asyncio.run(ItemCache(MemoryTier(0)).follow_purges())
