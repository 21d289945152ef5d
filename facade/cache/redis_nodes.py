"""
Connections to one Redis server, behind a breaker.

A reply is what Redis said, or the exception that stands for it: nothing but cancellation is raised to the caller.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ClusterDownError, RedisError, ResponseError

from facade.cache.breaker import Breaker, BreakerPolicy, BreakerState
from facade.cache.lane import Lane, NodeUnavailable, Reply, Wait
from facade.cache.observer import CacheObserver

_log = logging.getLogger(__name__)

Asked = TypeVar("Asked", bytes, "Command")


class Command(NamedTuple):
    """What to send."""

    key: bytes
    """The key that decides which node of a cluster is asked."""

    arguments: tuple[str | bytes | int, ...]
    """The command's name and all its arguments."""


@dataclass(frozen=True, slots=True)
class RedisLimits:
    """How long and how much a Redis may hold us."""

    lookup_budget_s: float = 0.02
    """Seconds that a request waits for Redis, all in all; a slower answer counts as a failure for the breaker."""

    socket_timeout_s: float = 0.1
    """Seconds after which a connection that doesn't open or answer is given up."""

    pool_size: int = 8
    """Connections to a node; as calls are merged, six are in use at most, and two more are for the map's sake."""

    pending_writes: int = 256
    """Writes under way at once; more are dropped and counted, so that a slow Redis can't fill our memory."""

    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    """When to stop asking a node, and for how long."""


class RedisNode:
    """
    One Redis server.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.

        limits: Bounds on time and connections.

        observer: Told about the breaker.
    """

    def __init__(self, url: str, limits: RedisLimits, observer: CacheObserver) -> None:
        self._limits = limits
        # The name goes into metrics and must not carry a password.
        self.name = urlsplit(url).netloc.rpartition("@")[2] or urlsplit(url).path

        self._observer = observer
        self._last_error: Exception | None = None
        self.breaker = Breaker(limits.breaker, on_change=self._tell)
        self._client = connect(
            url,
            timeout_s=limits.socket_timeout_s,
            pool_size=limits.pool_size,
            pool_timeout_s=limits.lookup_budget_s,
        )
        self._reads: Lane[bytes] = Lane(partial(self._guard, self._mget), self._is_well)
        self._commands: Lane[Command] = Lane(partial(self._guard, self._pipeline), self._is_well)
        self._writes: Lane[Command] = Lane(partial(self._guard, self._pipeline), self._is_well)

    def mget(self, keys: Sequence[bytes], wait: Wait | None = None) -> "asyncio.Future[list[Reply]]":
        """Look up *keys*; a cluster's node can't do this for keys of several slots."""
        return self._reads.submit(keys, wait)

    def pipeline(
        self, commands: Sequence[Command], wait: Wait | None = None
    ) -> "asyncio.Future[list[Reply]]":
        """
        Send *commands* in one go.

        Args:
            commands: What to send.

            wait: How the caller waits; None where nobody does, which then takes a way of its own.

        Returns:
            One reply per command, later.
        """
        return (self._writes if wait is None else self._commands).submit(commands, wait)

    async def command(self, *arguments: str | bytes | int) -> Any:
        """Send one command past the breaker; what goes wrong is raised."""
        return await send_command(self._client, *arguments)

    async def aclose(self) -> None:
        """Close all connections."""
        await asyncio.gather(self._reads.aclose(), self._commands.aclose(), self._writes.aclose())
        with suppress(RedisError, OSError):
            # It may be gone, or have more to say; we don't.
            await self._client.aclose()

    def _tell(self, state: BreakerState) -> None:
        """Pass on the breaker's state; the log gets one line a change and not one a request."""
        self._observer.breaker_state(self.name, state)
        if state is not BreakerState.HALF_OPEN:
            level = logging.WARNING if state is BreakerState.OPEN else logging.INFO
            _log.log(level, "cache: breaker of Redis %s is %s (%r)", self.name, state, self._last_error)
            self._last_error = None

    def _is_well(self) -> bool:
        """Whether the breaker is closed."""
        return self.breaker.state is BreakerState.CLOSED

    async def _mget(self, keys: list[bytes]) -> list[Reply]:
        """Look up all *keys*."""
        replies: list[Reply] = await send_command(self._client, "MGET", *keys)
        return replies

    async def _pipeline(self, commands: list[Command]) -> list[Reply]:
        """Send all *commands* and read all replies; a refusal is a reply."""
        if len(commands) == 1:
            # Half the work of a pipeline.
            try:
                return [await send_command(self._client, *commands[0].arguments)]
            except ResponseError as refusal:
                return [refusal]
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command.arguments)
            replies: list[Reply] = await pipe.execute(raise_on_error=False)
            return replies

    async def _guard(
        self,
        send: Callable[[list[Asked]], Awaitable[list[Reply]]],
        asked: list[Asked],
        waits: list[Wait | None],
    ) -> list[Reply]:
        """Call *send* if the breaker lets us, and tell it the truth about how that went."""
        ticket = self.breaker.admit()
        if ticket is None:
            return [NodeUnavailable(self.name)] * len(asked)
        succeeded = False
        try:
            replies = await send(asked)
            is_late = any(wait is not None and wait.is_too_late for wait in waits)
            succeeded = not is_late and not any(isinstance(reply, ClusterDownError) for reply in replies)
        except Exception as error:  # noqa: BLE001  # the parser lets ValueError and others out when it reads nonsense
            self._last_error = error
            return [error] * len(asked)
        finally:
            # Also when cancelled: a probe that nobody settles would keep the next one waiting.
            self.breaker.settle(ticket, succeeded=succeeded)
        return replies


def connect(url: str, *, timeout_s: float, pool_size: int, pool_timeout_s: float) -> Redis:
    """
    Client for one server that fails soon and never retries.

    Args:
        url: The server's address.

        timeout_s: Seconds to open a connection, and to wait for each answer.

        pool_size: Connections at most.

        pool_timeout_s: Seconds to wait for a free one.
    """
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=pool_size,
        timeout=pool_timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
        # RESP2 saves the HELLO, and with it the server's unasked messages.
        protocol=2,
    )
    return Redis.from_pool(pool)


async def send_command(client: Redis, *arguments: str | bytes | int) -> Any:
    """Send one command and return what redis-py makes of the answer."""
    return await client.execute_command(*arguments)  # type: ignore[no-untyped-call]
