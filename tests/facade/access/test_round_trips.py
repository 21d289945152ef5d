"""Calls travel together, in order, and fail together when Redis does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from facade.access.round_trips import TRIP_LIMIT, RoundTrips, Script, SharedCountLost
from tests.facade.redis_server import RedisServer

APPEND = Script("redis.call('RPUSH', KEYS[1], ARGV[1]) return redis.call('LLEN', KEYS[1])")
FAIL = Script("return redis.call('INCR', KEYS[1])")
ECHO = Script("return ARGV[1]")
SCRIPTS = (APPEND, FAIL, ECHO)


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@contextlib.asynccontextmanager
async def open_trips(server: RedisServer, timeout_s: float = 1.0) -> AsyncIterator[RoundTrips]:
    """Connect to *server* for a test."""
    pool = BlockingConnectionPool.from_url(
        server.url, timeout=timeout_s, retry=Retry(NoBackoff(), 0), protocol=2
    )
    trips = RoundTrips(Redis.from_pool(pool), SCRIPTS, timeout_s=timeout_s)
    try:
        yield trips
    finally:
        await trips.aclose()


def test_calls_arrive_in_order_however_many(server: RedisServer) -> None:
    """More calls than fit one trip are answered each with its own place in the order."""

    async def run() -> list[object]:
        async with open_trips(server) as trips:
            count = 2 * TRIP_LIMIT + 10
            return list(await asyncio.gather(*(trips.call(APPEND, ("order",), (n,)) for n in range(count))))

    assert asyncio.run(run()) == list(range(1, 2 * TRIP_LIMIT + 11))


def test_many_calls_take_few_trips() -> None:
    """A hundred calls made at once on a fresh server: one exchange finds the script unknown, one teaches it."""

    async def run() -> int:
        async with open_trips(server) as trips:
            exchanges = 0
            exchange = trips._exchange

            async def count(*arguments: object, **options: object) -> list[object]:
                nonlocal exchanges
                exchanges += 1
                return await exchange(*arguments, **options)

            trips._exchange = count
            await asyncio.gather(*(trips.call(ECHO, (), (n,)) for n in range(100)))
            await asyncio.gather(*(trips.call(APPEND, ("a",), (n,)) for n in range(100)))
            return exchanges

    with RedisServer() as server:
        assert asyncio.run(run()) == 3


def test_everywhere_is_the_one_server(server: RedisServer) -> None:
    """A single server is asked once, and its silence is a lost count."""

    async def run() -> object:
        async with open_trips(server, timeout_s=0.2) as trips:
            await trips.call_everywhere(APPEND, "everywhere", ("a",))
            count = await trips.call(APPEND, ("everywhere",), ("b",))
            server.freeze()
            try:
                with pytest.raises(SharedCountLost):
                    await trips.call_everywhere(APPEND, "everywhere", ("c",))
            finally:
                server.thaw()
            return count

    assert asyncio.run(run()) == 2


def test_no_call_overtakes_another_on_a_server_that_forgot() -> None:
    """Calls of a script known by then wait for those before them whose script is not."""

    async def run(server: RedisServer) -> list[object]:
        async with open_trips(server) as trips:
            first = trips.call(APPEND, ("k",), (1,))
            await first
            calls = [
                trips.call(FAIL, ("n",), ()),
                trips.call(APPEND, ("k",), (2,)),
                trips.call(FAIL, ("n",), ()),
            ]
            return list(await asyncio.gather(*calls))

    with RedisServer() as server:
        assert asyncio.run(run(server)) == [1, 2, 2]


def test_one_calls_error_is_its_own(server: RedisServer) -> None:
    """A value of the wrong kind under one key fails that call and not those beside it."""

    async def run() -> list[object]:
        async with open_trips(server) as trips:
            await trips.call(APPEND, ("a list",), (1,))
            calls = [trips.call(FAIL, ("a list",), ()), trips.call(FAIL, ("a number",), ())]
            return list(await asyncio.gather(*calls, return_exceptions=True))

    failed, counted = asyncio.run(run())
    assert isinstance(failed, SharedCountLost)
    assert counted == 1


def test_a_caller_that_leaves_disturbs_nobody(server: RedisServer) -> None:
    """A cancelled wait neither stops the call nor the connection."""

    async def run() -> object:
        async with open_trips(server) as trips:
            gone = asyncio.ensure_future(trips.call(APPEND, ("left",), (1,)))
            stays = trips.call(APPEND, ("left",), (2,))
            await asyncio.sleep(0)
            gone.cancel()
            return await stays

    assert asyncio.run(run()) == 2


def test_a_restarted_server_learns_the_scripts_again() -> None:
    """After a restart at most the first calls fail, and the scripts come back by themselves."""

    async def run(server: RedisServer) -> object:
        async with open_trips(server) as trips:
            await trips.call(APPEND, ("k",), (1,))
            server.restart()
            for _ in range(3):
                try:
                    return await trips.call(APPEND, ("k",), (1,))
                except SharedCountLost:
                    continue
            return None

    with RedisServer() as server:
        assert asyncio.run(run(server)) == 1


def test_a_frozen_server_costs_one_timeout_for_all_who_wait() -> None:
    """Calls made before and during the trip that fails are told together."""

    async def run(server: RedisServer) -> list[float]:
        async with open_trips(server, timeout_s=0.2) as trips:
            await trips.call(APPEND, ("k",), (1,))
            server.freeze()
            waits: list[float] = []

            async def ask(delay_s: float) -> None:
                await asyncio.sleep(delay_s)
                began = time.monotonic()
                with pytest.raises(SharedCountLost):
                    await trips.call(APPEND, ("k",), (1,))
                waits.append(time.monotonic() - began)

            await asyncio.gather(*(ask(delay_s) for delay_s in (0.0, 0.0, 0.1)))
            return waits

    with RedisServer() as server:
        waits = asyncio.run(run(server))
    assert len(waits) == 3
    assert max(waits) < 0.28


def test_closing_ends_those_who_wait() -> None:
    """Nobody is left waiting on a connection that is closed."""

    async def run(server: RedisServer) -> None:
        async with open_trips(server, timeout_s=0.2) as trips:
            await trips.call(APPEND, ("k",), (1,))
            server.freeze()
            waits = [trips.call(APPEND, ("k",), (n,)) for n in range(TRIP_LIMIT + 1)]
            await trips.aclose()
            assert all(isinstance(wait.exception(), SharedCountLost) for wait in waits)

    with RedisServer() as server:
        asyncio.run(run(server))
