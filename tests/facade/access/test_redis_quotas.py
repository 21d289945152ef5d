"""Quotas that several processes count together in a real Redis."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path

import pytest
from limits.aio.storage import RedisStorage

from facade.access.keys import Key, Tier, to_digest
from facade.access.quotas import UNLIMITED, Lease
from facade.access.redis_quotas import KEY_PREFIX, RedisQuotas
from facade.access.round_trips import SharedCountLost
from facade.errors import RateLimited
from tests.facade.access.hammer import KEY
from tests.facade.redis_server import RedisServer, free_port

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="server")
def _server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def with_quotas(
    test: Callable[[RedisQuotas], Coroutine[None, None, None]], server: RedisServer, **options: float
) -> None:
    """Run *test* with quotas on *server*, patient enough for a busy machine."""

    async def run() -> None:
        quotas = RedisQuotas(server.url, **{"timeout_s": 5.0, **options})
        try:
            await test(quotas)
        finally:
            await quotas.aclose()

    asyncio.run(run())


async def take(quotas: RedisQuotas, tier: Tier, attempts: int, key: Key = KEY) -> list[Lease]:
    """Return the leases that *attempts* requests get."""
    leases: list[Lease] = []
    for _ in range(attempts):
        try:
            leases.append(await quotas.admit(key, tier))
        except RateLimited:
            continue
    return leases


def start_worker(mode: str, server: RedisServer, first: float, second: float) -> subprocess.Popen[str]:
    """Start a process that counts on *server*."""
    command = [sys.executable, "-m", "tests.facade.access.hammer", mode, server.url, str(first), str(second)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_four_hammering_workers_get_the_limit_together(server: RedisServer) -> None:
    """Four processes, eight tasks each, ask more than the limit: what is let in is within 1 % of it."""
    limit = 3000
    workers = [start_worker("hammer", server, limit, 4.0) for _ in range(4)]
    counts = [tuple(map(int, worker.communicate(timeout=60)[0].split())) for worker in workers]
    admitted, asked = (sum(column) for column in zip(*counts, strict=True))
    assert asked > limit * 1.1, "too slow to reach the limit, so nothing was tested"
    assert abs(admitted - limit) <= limit * 0.01
    assert min(count for count, _ in counts) > 0


def test_a_killed_workers_places_are_free_after_their_time(server: RedisServer) -> None:
    """While it lives its leases outlast their time to live; killed, they end by themselves."""
    ttl_s = 1.0
    worker = start_worker("hold", server, ttl_s, 3)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "3\n"

    async def run(quotas: RedisQuotas) -> None:
        tier = Tier("t", max_in_flight=3)
        renewed_until = time.monotonic() + 2.5 * ttl_s
        while time.monotonic() < renewed_until:
            assert await take(quotas, tier, 1) == []
            await asyncio.sleep(0.05)
        worker.kill()
        worker.wait()
        killed_at = time.monotonic()
        while not (leases := await take(quotas, tier, 1)):
            assert time.monotonic() < killed_at + ttl_s + 2.0
            await asyncio.sleep(0.02)
        assert len(await take(quotas, tier, 5)) == 2
        assert len(leases) == 1

    try:
        with_quotas(run, server)
    finally:
        worker.kill()
        worker.communicate()


def test_two_processes_share_places_and_releases_arrive(server: RedisServer) -> None:
    """What one holds the other can't have, until it is released; a double release frees one place."""

    async def run(one: RedisQuotas) -> None:
        other = RedisQuotas(server.url, timeout_s=5.0)
        tier = Tier("t", max_in_flight=2)
        first, _second = await take(one, tier, 2)
        with pytest.raises(RateLimited, match="at the same time"):
            await other.admit(KEY, tier)
        await first.release()
        await first.release()
        await one.probe()  # travels behind the release
        assert len(await take(other, tier, 3)) == 1
        await other.aclose()

    with_quotas(run, server)


def test_the_windows_are_those_of_limits(server: RedisServer) -> None:
    """The public storage of limits.aio reads the same counts under the same names."""

    async def run(quotas: RedisQuotas) -> None:
        for lease in await take(quotas, Tier("t", 5, 1000), 9):
            await lease.release(tokens=7)
        await quotas.probe()
        storage = RedisStorage(f"async+{server.url}", implementation="redispy", key_prefix=KEY_PREFIX)
        requests = await storage.get_sliding_window(f"{KEY.name}}}:requests", 60)
        tokens = await storage.get_sliding_window(f"{KEY.name}}}:tokens", 60)
        assert (requests[2], tokens[2]) == (5, 35)
        assert 60 < requests[3] <= 120
        keys = await storage.bridge.storage.keys("*")
        await storage.bridge.storage.aclose()
        assert {key.split(b"{")[1].split(b"}")[0] for key in keys if b"{" in key} == {KEY.name.encode()}

    with_quotas(run, server)


def test_a_refusal_uses_nothing_up(server: RedisServer) -> None:
    """A request refused for its tokens or its places doesn't count as a request, and leaves no lease."""

    async def run(quotas: RedisQuotas) -> None:
        tier = Tier("t", requests_per_minute=10, tokens_per_minute=100, max_in_flight=1)
        lease = await quotas.admit(KEY, tier)
        assert lease.headers()["x-ratelimit-remaining-requests"] == "9"
        for _ in range(20):
            with pytest.raises(RateLimited, match="at the same time") as crowded:
                await quotas.admit(KEY, tier)
        assert crowded.value.headers["x-ratelimit-remaining-requests"] == "9"
        await lease.release(tokens=150)
        with pytest.raises(RateLimited, match="tokens a minute") as used_up:
            await quotas.admit(KEY, tier)
        assert used_up.value.headers["x-ratelimit-remaining-tokens"] == "0"
        assert used_up.value.retry_after_s is not None
        assert 60 < used_up.value.retry_after_s < 125
        raised = Tier("t", 10, 1000, 1)
        last = await quotas.admit(KEY, raised)
        assert last.headers()["x-ratelimit-remaining-requests"] == "8"
        assert last.headers()["x-ratelimit-remaining-tokens"] == "850"

    with_quotas(run, server)


def test_a_window_slides_on_the_servers_clock(server: RedisServer) -> None:
    """With a window of one second, requests come through again within two, at the time that was told."""

    async def run(quotas: RedisQuotas) -> None:
        tier = Tier("t", requests_per_minute=10)
        assert len(await take(quotas, tier, 20)) == 10
        with pytest.raises(RateLimited) as refused:
            await quotas.admit(KEY, tier)
        wait_s = refused.value.retry_after_s
        assert wait_s is not None
        assert 0.3 < wait_s <= 2.5
        began = time.monotonic()
        while not await take(quotas, tier, 1):
            assert time.monotonic() < began + 5
            await asyncio.sleep(0.01)
        assert time.monotonic() - began <= wait_s + 0.2
        assert await quotas.admit(KEY, Tier("t", 20), 1)

    with_quotas(run, server, window_s=1)


def test_a_changed_tier_keeps_the_count(server: RedisServer) -> None:
    """Limits apply as they are at the call, to what was counted before."""

    async def run(quotas: RedisQuotas) -> None:
        assert len(await take(quotas, Tier("t", 10), 15)) == 10
        assert len(await take(quotas, Tier("t", 12), 15)) == 2
        assert len(await take(quotas, Tier("t", 5), 15)) == 0
        assert await quotas.admit(KEY, Tier("t")) is UNLIMITED
        other = Key("other", to_digest("other"), "t")
        assert len(await take(quotas, Tier("t", 5), 15, other)) == 5

    with_quotas(run, server)


def test_a_caller_that_leaves_takes_no_place(server: RedisServer) -> None:
    """Cancelling the admission gives back the lease that Redis granted meanwhile."""

    async def run(quotas: RedisQuotas) -> None:
        tier = Tier("t", max_in_flight=1)
        await quotas.probe()
        leaving = asyncio.create_task(quotas.admit(KEY, tier))
        await asyncio.sleep(0)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        await quotas.admit(KEY, tier)

    with_quotas(run, server)


def test_what_a_frozen_server_missed_is_made_good(server: RedisServer) -> None:
    """Releases lost on the way are sent again once it answers, tokens are charged once, doubtful places freed."""

    async def run(quotas: RedisQuotas) -> None:
        lost: list[SharedCountLost] = []
        quotas.on_lost = lost.append
        tier = Tier("t", tokens_per_minute=1000, max_in_flight=2)
        lease = await quotas.admit(KEY, tier)
        server.freeze()
        await lease.release(tokens=100)
        while not lost:
            await asyncio.sleep(0.01)
        with pytest.raises(SharedCountLost):
            await quotas.admit(KEY, tier)
        server.thaw()
        await quotas.probe()
        await quotas.probe()
        again = await take(quotas, tier, 3)
        assert len(again) == 2
        assert again[0].headers()["x-ratelimit-remaining-tokens"] == "900"

    with_quotas(run, server, timeout_s=0.2)


def test_a_place_that_a_thawed_server_takes_late_is_freed(server: RedisServer) -> None:
    """An admission that timed out may yet be done; nobody holds its place, so it is given back."""

    async def run(quotas: RedisQuotas) -> None:
        tier = Tier("t", max_in_flight=1)
        await (await quotas.admit(KEY, tier)).release()
        await quotas.probe()
        server.freeze()
        with pytest.raises(SharedCountLost):
            await quotas.admit(KEY, tier)
        server.thaw()
        while not await is_done():
            await asyncio.sleep(0.01)
        with pytest.raises(RateLimited):
            await quotas.admit(KEY, tier)
        await quotas.probe()
        await quotas.admit(KEY, tier)

    async def is_done() -> bool:
        client = RedisStorage(f"async+{server.url}", implementation="redispy").bridge.storage
        leases = await client.zcard(f"{KEY_PREFIX}:{{{KEY.name}}}:leases")
        await client.aclose()
        return bool(leases)

    with_quotas(run, server, timeout_s=0.3)


def test_nothing_stays_in_redis_for_ever(server: RedisServer) -> None:
    """Every key that is written ends by itself."""

    async def run(quotas: RedisQuotas) -> None:
        first, _second = await take(quotas, Tier("t", 5, 1000, 5), 2)
        await first.release(tokens=3)
        await quotas.probe()
        client = RedisStorage(f"async+{server.url}", implementation="redispy").bridge.storage
        ends_ms = {key: await client.pttl(key) for key in await client.keys("*")}
        await client.aclose()
        assert len(ends_ms) == 4  # requests, tokens, leases, probe
        assert min(ends_ms.values()) > 0

    with_quotas(run, server)


def test_foreign_values_under_our_keys_are_a_lost_count(server: RedisServer) -> None:
    """Garbage in Redis is an error that the fallback catches, not a crash."""

    async def run(quotas: RedisQuotas) -> None:
        storage = RedisStorage(f"async+{server.url}", implementation="redispy")
        await storage.bridge.storage.set(f"{KEY_PREFIX}:{{{KEY.name}}}:leases", "garbage")
        await storage.bridge.storage.aclose()
        with pytest.raises(SharedCountLost, match="WRONGTYPE"):
            await quotas.admit(KEY, Tier("t", 5))

    with_quotas(run, server)


def test_nothing_listening_is_noticed_at_once() -> None:
    """A refused connection costs no timeout."""

    async def run() -> float:
        quotas = RedisQuotas(f"redis://127.0.0.1:{free_port()}/0", timeout_s=5.0)
        began = time.monotonic()
        for attempt in (partial(quotas.admit, KEY, Tier("t", 5)), quotas.probe):
            with pytest.raises(SharedCountLost):
                await attempt()
        await quotas.aclose()
        return time.monotonic() - began

    assert asyncio.run(run()) < 1.0
