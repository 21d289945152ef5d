"""A node's replies come back or stand for what went wrong, and its breaker learns the truth."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from facade.cache.breaker import BreakerState
from facade.cache.lane import NodeUnavailable, Wait
from facade.cache.redis_nodes import Command, RedisNode
from tests.facade.cache.recorder import HASTY, PATIENT, Recorder, until
from tests.facade.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    import pytest

    from facade.cache.redis_nodes import RedisLimits


def opened(url: str, limits: RedisLimits, observer: Recorder | None = None) -> RedisNode:
    """A node that isn't connected yet."""
    return RedisNode(url, limits, observer or Recorder())


def test_each_command_has_its_reply_and_one_refusal_spoils_no_other(server: RedisServer) -> None:
    """A pipeline's replies are in order, the refused one is an exception in its place."""

    async def run() -> None:
        node = opened(server.url, PATIENT)
        commands = [
            Command(b"a", ("SET", b"a", b"1")),
            Command(b"a", ("LPUSH", b"a", b"2")),
            Command(b"a", ("GET", b"a")),
        ]
        first, refused, last = await node.pipeline(commands)
        assert (first, last) == (True, b"1")
        assert isinstance(refused, ResponseError)
        assert await node.mget([b"b", b"a"]) == [None, b"1"]
        assert node.breaker.state is BreakerState.CLOSED
        await node.aclose()

    asyncio.run(run())


def test_nobody_listening_opens_the_breaker_and_then_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """Refused connections are replies; after some of them nothing is tried, and the log has one line."""

    async def run() -> None:
        observer = Recorder()
        node = opened(f"redis://user:secret@127.0.0.1:{free_port()}/0", HASTY, observer)
        for _ in range(3):
            assert all(isinstance(reply, RedisConnectionError) for reply in await node.mget([b"a", b"b"]))
        assert all(isinstance(reply, NodeUnavailable) for reply in await node.mget([b"a"]))
        assert observer.states == ["open"]
        await node.aclose()

    with caplog.at_level(logging.INFO, logger="facade.cache"):
        asyncio.run(run())
    assert len(caplog.records) == 1
    assert "is open" in caplog.text
    assert "secret" not in caplog.text


def test_a_frozen_server_is_given_up_in_time_and_found_again(server: RedisServer) -> None:
    """Reads end by the socket's timeout, the breaker opens, and closes by itself after the thaw."""

    async def run() -> None:
        observer = Recorder()
        node = opened(server.url, HASTY, observer)
        await node.mget([b"a"])
        server.freeze()
        began = time.monotonic()
        while node.breaker.state is not BreakerState.OPEN:
            await node.mget([b"a"])
        assert time.monotonic() - began < 2
        server.thaw()
        async with asyncio.timeout(10):
            while await node.mget([b"a"]) != [None]:
                await asyncio.sleep(0.01)
        await until(lambda: node.breaker.state is BreakerState.CLOSED)
        assert observer.states[:2] == ["open", "half-open"]
        assert observer.states[-1] == "closed"
        await node.aclose()

    asyncio.run(run())


def test_replies_that_come_too_late_open_the_breaker(server: RedisServer) -> None:
    """A Redis that always answers after its callers left is as good as none; without callers it may take its time."""

    async def run() -> None:
        node = opened(server.url, HASTY)
        for _ in range(5):
            assert await node.mget([b"a"]) == [None]
        left = Wait()
        left.is_too_late = True
        for _ in range(5):
            await node.mget([b"a"], left)
        assert node.breaker.state is BreakerState.OPEN
        await node.aclose()

    asyncio.run(run())


def test_a_restarted_server_is_used_again_at_once(server: RedisServer) -> None:
    """Connections of before the restart are replaced, not believed."""

    async def run() -> None:
        node = opened(server.url, PATIENT)
        await asyncio.gather(*(node.mget([b"a"]) for _ in range(5)))
        server.restart()
        replies = [await node.mget([b"a"]) for _ in range(6)]
        assert replies[-1] == [None]
        assert node.breaker.state is BreakerState.CLOSED
        await node.aclose()

    asyncio.run(run())


def test_a_port_that_speaks_another_protocol_is_a_failure_like_others() -> None:
    """Nonsense on the wire is a reply, whatever the parser makes of it."""

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"$nonsense\r\n*-7\r\nHTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def run() -> None:
        listener = await asyncio.start_server(babble, "127.0.0.1", 0)
        node = opened(f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0", HASTY)
        for _ in range(3):
            (reply,) = await node.mget([b"a"])
            assert isinstance(reply, Exception)
        assert node.breaker.state is BreakerState.OPEN
        await node.aclose()
        listener.close()
        await listener.wait_closed()

    asyncio.run(run())


def test_many_callers_share_few_calls_and_connections(server: RedisServer) -> None:
    """Two hundred lookups at once are a handful of commands, and each caller gets its own replies."""

    async def run() -> None:
        node = opened(server.url, PATIENT)
        await node.pipeline(
            [Command(b"k%d" % number, ("SET", b"k%d" % number, number)) for number in range(200)]
        )
        replies = await asyncio.gather(*(node.mget([b"k%d" % number, b"none"]) for number in range(200)))
        assert replies == [[b"%d" % number, None] for number in range(200)]
        stats = await node.command("INFO", "commandstats")
        assert stats["cmdstat_mget"]["calls"] <= 10
        clients = await node.command("INFO", "clients")
        assert clients["connected_clients"] <= PATIENT.pool_size
        await node.aclose()

    asyncio.run(run())


def test_a_single_command_that_is_refused_is_a_reply_and_no_failure(server: RedisServer) -> None:
    """A server that says no is well."""

    async def run() -> None:
        node = opened(server.url, HASTY)
        for _ in range(10):
            (reply,) = await node.pipeline([Command(b"a", ("NOSUCH", b"a"))])
            assert isinstance(reply, ResponseError)
        assert node.breaker.state is BreakerState.CLOSED
        await node.aclose()

    asyncio.run(run())
