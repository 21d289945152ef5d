"""
Script calls to Redis that travel together: while one round trip is under way, those that come gather for the next.

Measured on two cores against a Redis on the same machine, CPU a call at 16 callers at once: a call of its own
151 µs, in a trip of sixteen 86 µs. A caller that leaves cancels its own wait only: the connection, which redis-py
drops when a read is cancelled, stays.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

TRIP_LIMIT = 256
"""Calls in one round trip; more wait for the next, so that one trip stays far below the timeout."""


class SharedCountLost(Exception):
    """Redis didn't answer in time, or not sensibly; what was sent may or may not have been done."""


class Script:
    """
    A Lua script, by its hash.

    Args:
        text: Its source.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Call(NamedTuple):
    """One script call on its way."""

    script: Script
    """What to run."""

    keys: Sequence[str]
    """All in one slot of a cluster."""

    arguments: Sequence[str | int]
    """The script's ARGV."""

    answer: asyncio.Future[object]
    """Set with what the script returned."""


Command = tuple[str | int, ...]


def to_command(call: Call) -> Command:
    """
    Write a call as Redis takes it.

    Args:
        call: What to run.

    Returns:
        Name and arguments of the command.
    """
    return ("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.arguments)


class RoundTrips:
    """
    The way to one Redis, one round trip at a time.

    Args:
        client: Fails soon and doesn't retry. Closed with this.

        scripts: All that will be called.

        timeout_s: Seconds for a round trip, connecting included. A call waits for at most two.
    """

    def __init__(self, client: Redis, scripts: Sequence[Script], *, timeout_s: float) -> None:
        self._client = client
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._waiting: deque[Call] = deque()
        self._lane: asyncio.Task[None] | None = None

    def call(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> asyncio.Future[object]:
        """
        Send one call with the next trip; calls are done in the order in which they were made.

        Args:
            script: What to run.

            keys: Its KEYS.

            arguments: Its ARGV.

        Returns:
            A future of its answer, or of `SharedCountLost`. Whoever doesn't await it has to look at its exception.
        """
        answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self._waiting.append(Call(script, keys, arguments, answer))
        if self._lane is None or self._lane.done():
            self._lane = asyncio.create_task(self._travel(), name="quota-round-trips")
        return answer

    async def call_everywhere(self, script: Script, key: str, arguments: Sequence[str | int]) -> None:
        """
        Run a script on every server, which is this one.

        Args:
            script: What to run.

            key: Its one key.

            arguments: Its ARGV.

        Raises:
            SharedCountLost: If it doesn't answer.
        """
        await self.call(script, (key,), arguments)

    async def aclose(self) -> None:
        """Send what still waits, within one timeout, and close the connections."""
        if self._lane is not None and not self._lane.done():
            await asyncio.wait([self._lane], timeout=self._timeout_s)
            self._lane.cancel()
            await asyncio.wait([self._lane])
        self._fail(list(self._waiting), RedisError("closed"))
        self._waiting.clear()
        await self._client.aclose(close_connection_pool=True)

    async def _travel(self) -> None:
        while self._waiting:
            calls = [self._waiting.popleft() for _ in range(min(TRIP_LIMIT, len(self._waiting)))]
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._make_trip(calls)
            except asyncio.CancelledError:
                self._fail(calls, RedisError("closed"))
                raise
            except Exception as error:  # noqa: BLE001 - redis-py's parser lets other errors out when it reads nonsense
                # Those who wait are told at once: another timeout wouldn't tell them more.
                self._fail([*calls, *self._waiting], error)
                self._waiting.clear()

    async def _make_trip(self, calls: list[Call]) -> None:
        answers = await self._exchange([to_command(call) for call in calls])
        unknown = [
            call for call, answer in zip(calls, answers, strict=True) if isinstance(answer, NoScriptError)
        ]
        if unknown:
            # Redis was restarted, or forgot the scripts. It learns all of them together: if it knew some only, calls
            # of those would overtake calls of the others.
            learn = [("SCRIPT LOAD", script.text) for script in self._scripts]
            again = iter((await self._exchange([*learn, *map(to_command, unknown)]))[len(learn) :])
            answers = [next(again) if isinstance(answer, NoScriptError) else answer for answer in answers]
        for call, answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                self._fail([call], answer)
            elif not call.answer.done():
                call.answer.set_result(answer)

    async def _exchange(self, commands: list[Command]) -> list[object]:
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            answers: list[object] = await pipe.execute(raise_on_error=False)
            return answers

    def _fail(self, calls: list[Call], reason: Exception) -> None:
        for call in calls:
            if not call.answer.done():
                lost = SharedCountLost(f"{type(reason).__name__}: {reason}")
                lost.__cause__ = reason
                call.answer.set_exception(lost)
