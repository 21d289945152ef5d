"""Keys find the server of their slot, also when slots move and servers go."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError

from facade.cache.redis_nodes import Command
from facade.cache.redis_routes import (
    ClusterAddress,
    ClusterRoute,
    SingleRoute,
    is_cluster,
    list_primaries,
    open_route,
    parse_slot_map,
)
from tests.facade.cache.recorder import HASTY, PATIENT, Recorder
from tests.facade.cache.redis_cluster import THIRDS, cluster_url, redis_cluster
from tests.facade.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = [b"key %d" % number for number in range(60)]


@pytest.fixture(name="servers")
def _servers() -> Iterator[list[RedisServer]]:
    """A cluster of three."""
    with redis_cluster() as servers:
        yield servers


def writes(keys: list[bytes]) -> list[Command]:
    """Commands that store each key's own name under it."""
    return [Command(key, ("SET", key, key)) for key in keys]


def test_a_url_says_which_route_and_its_parts_stay_together() -> None:
    """Login and options go to each node, hosts are seeds."""
    assert not is_cluster("redis://h:1/0")
    assert is_cluster("redis+cluster://h:1")
    address = ClusterAddress.parse("rediss+cluster://me:pa@ss@h1:1,h2:2/?ssl_cert_reqs=none")
    assert address.seeds == ("h1:1", "h2:2")
    assert address.node_url("h3:3") == "rediss://me:pa@ss@h3:3/?ssl_cert_reqs=none"
    assert isinstance(open_route("redis://127.0.0.1:1/0", PATIENT, Recorder()), SingleRoute)


def test_a_map_without_hosts_means_the_server_that_was_asked() -> None:
    """Older and proxied servers leave the host out; IPv6 gets its brackets back."""
    answer = [
        [0, 5, [b"", 7000, b"id"], [b"r", 1, b"id"]],
        [6, 9, [b"::1", 7001, b"id"]],
        [10, 11, [None, 7]],
    ]
    assert [part.address for part in parse_slot_map(answer, "[fe80::1]:7000")] == [
        "[fe80::1]:7000",
        "[::1]:7001",
        "[fe80::1]:7",
    ]


def test_keys_of_all_slots_are_written_and_read_in_order(servers: list[RedisServer]) -> None:
    """Each server holds its own slots' keys; a dead seed is passed over."""

    async def run() -> None:
        url = f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{servers[1].port}"
        route = open_route(url, PATIENT, Recorder())
        assert await route.get(KEYS) == [None] * len(KEYS)
        assert await route.send(writes(KEYS)) == [True] * len(KEYS)
        assert await route.get(KEYS[::-1]) == KEYS[::-1]
        await route.aclose()

    asyncio.run(run())
    for server, (first, last) in zip(servers, THIRDS, strict=True):
        with Redis(port=server.port) as client:
            assert sorted(client.keys()) == sorted(key for key in KEYS if first <= key_slot(key) <= last)


def test_a_dead_node_fails_its_own_keys_only(servers: list[RedisServer]) -> None:
    """The other two thirds go on, before and after the breaker opens."""

    async def run() -> None:
        route = ClusterRoute(cluster_url(servers), PATIENT, Recorder())
        await route.send(writes(KEYS))
        servers[0].kill()
        for _ in range(8):
            for key, reply in zip(KEYS, await route.get(KEYS), strict=True):
                if key_slot(key) <= THIRDS[0][1]:
                    assert isinstance(reply, Exception)
                else:
                    assert reply == key
        await route.aclose()

    asyncio.run(run())


def test_a_moved_slot_is_a_failure_once_and_then_found(servers: list[RedisServer]) -> None:
    """The map is read again by itself, at most every so often."""

    async def run() -> None:
        route = ClusterRoute(cluster_url(servers), PATIENT, Recorder())
        await route.get(KEYS)
        key = KEYS[0]
        slot = key_slot(key)
        owner = next(i for i, (first, last) in enumerate(THIRDS) if first <= slot <= last)
        taker = (owner + 1) % 3
        with Redis(port=servers[taker].port) as client:
            node_id = client.execute_command("CLUSTER", "MYID").decode()
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", node_id)
            client.execute_command("CLUSTER", "BUMPEPOCH")
            client.set(key, b"moved")
        with Redis(port=servers[owner].port) as client:
            client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", node_id)
        async with asyncio.timeout(10):
            while await route.get([key]) != [b"moved"]:
                await asyncio.sleep(0.02)
        assert len(await list_primaries(cluster_url(servers), key, timeout_s=5)) == 3
        await route.aclose()

    asyncio.run(run())


def test_no_cluster_at_all_is_a_reply_and_soon() -> None:
    """Seeds that nobody listens on cost one attempt, and then nothing for a while."""

    async def run() -> None:
        route = ClusterRoute(f"redis+cluster://127.0.0.1:{free_port()}", HASTY, Recorder())
        began = time.monotonic()
        for _ in range(50):
            assert all(isinstance(reply, Exception) for reply in await route.get(KEYS[:2]))
        assert time.monotonic() - began < 2
        await route.aclose()

    asyncio.run(run())


def test_the_holder_of_a_key_is_known(servers: list[RedisServer]) -> None:
    """All primaries are listed, and one of them holds the key; a lone Redis is its own list."""

    async def run() -> None:
        found = await list_primaries(cluster_url(servers), KEYS[0], timeout_s=5)
        assert len(found) == 3
        (holder,) = [url for url, holds in found if holds]
        slot = key_slot(KEYS[0])
        owner = next(i for i, (first, last) in enumerate(THIRDS) if first <= slot <= last)
        assert holder.endswith(f":{servers[owner].port}")
        assert await list_primaries("redis://h:1/0", b"k", timeout_s=5) == [("redis://h:1/0", True)]
        with pytest.raises(RedisConnectionError):
            await list_primaries(f"redis+cluster://127.0.0.1:{free_port()}", b"k", timeout_s=1)

    asyncio.run(run())
