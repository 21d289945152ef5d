"""
Second tier: answers that all replicas share, in Redis, and never a reason for a request to fail.

Whatever happens to Redis, a lookup answers within its budget: what isn't known by then is `LookupState.FAILED`,
and the caller computes. A read that takes too long isn't cancelled, as cancelling drops its connection: it ends in
the background, within the socket's timeout, and only the wait for it is given up. Writes are started and
forgotten, a bounded number at a time.
"""

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import NamedTuple

from redis.exceptions import ResponseError

from facade.cache.frames import Frame, FrameKind, decode_frame, encode_frame
from facade.cache.lane import Reply, Wait
from facade.cache.observer import CacheObserver, SilentObserver
from facade.cache.redis_nodes import Command, RedisLimits
from facade.cache.redis_routes import open_route

PURGES_KEY = b"tf:purges"
"""Hash of model prefix -> milliseconds since 1970 at which it was last purged; see `facade.cache.purge`."""

# Deletes a lease only if it is still ours: it may have run out and been taken by another.
_RELEASE = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('unlink', KEYS[1]) end return 0"


class LookupState(Enum):
    """What lay under a key."""

    HIT = auto()
    """A fresh answer."""

    MISS = auto()
    """Nothing."""

    LEASED = auto()
    """The promise of another replica that an answer is on its way."""

    SPOILT = auto()
    """Something that can't be used: garbage, or out of date. Worth overwriting; a claim would not be granted."""

    FAILED = auto()
    """Redis didn't say in time."""


class Lookup(NamedTuple):
    """The result of looking up one key."""

    state: LookupState
    """What lay there."""

    value: bytes = b""
    """The answer, where there is one."""

    age_s: float = 0.0
    """Seconds since the answer was computed."""

    remaining_s: float = 0.0
    """Seconds that it stays fresh."""


class ClaimState(Enum):
    """Who computes a key."""

    OURS = auto()
    """We do: the lease is ours."""

    THEIRS = auto()
    """Another replica does, or has done so since we looked."""

    UNKNOWN = auto()
    """Redis didn't say in time, or is full: we do, as everyone."""


class Claim(NamedTuple):
    """The result of asking to compute one key."""

    state: ClaimState
    """Who computes."""

    lease: bytes
    """What marks the lease as ours."""


_ROUNDS = 3
"""Times that the budget is waited for while our own loop is busy."""

_LATENESS_S = 0.005
"""Lateness of a timer, in seconds, that is not chance."""

_TURNS = 8
"""Turns of the loop that a reply needs, from the question to the one who asked; a few are for those before it."""

_MISS = Lookup(LookupState.MISS)
_GARBAGE = Lookup(LookupState.SPOILT)
_OUT_OF_DATE = Lookup(LookupState.SPOILT)
_LEASED = Lookup(LookupState.LEASED)
_FAILED = Lookup(LookupState.FAILED)


class RedisTier:
    """
    Answers shared by all replicas.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, or ``redis+cluster://host:port,host:port``.

        limits: Bounds on time, connections and writes.

        observer: Told about what goes wrong.

        clock: Seconds since 1970; it has to agree between replicas to a second or so.
    """

    def __init__(
        self,
        url: str,
        *,
        limits: RedisLimits | None = None,
        observer: CacheObserver | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = limits or RedisLimits()
        self._observer = observer or SilentObserver()
        self._clock = clock
        self._route = open_route(url, self.limits, self._observer)
        self._reads: set[asyncio.Task[list[Reply]]] = set()
        self._writes: set[asyncio.Task[None]] = set()

    async def get_many(self, keys: Sequence[bytes], *, within_s: float | None = None) -> list[Lookup]:
        """
        Look up *keys* in one round trip.

        Args:
            keys: From `facade.cache.keys`.

            within_s: Seconds to wait at most; the lookup budget where None.

        Returns:
            One result per key, whatever happens.
        """
        replies = await self._within_budget("lookup", partial(self._route.get, keys), within_s)
        if replies is None:
            return [_FAILED] * len(keys)
        now_ms = self._now_ms()
        lookups = [_read_reply(key, reply, now_ms) for key, reply in zip(keys, replies, strict=True)]
        garbage = sum(lookup is _GARBAGE for lookup in lookups)
        if garbage:
            self._observer.garbage(garbage)
        return lookups

    async def claim(
        self, keys: Sequence[bytes], lease_s: float, *, within_s: float | None = None
    ) -> list[Claim]:
        """
        Ask to be the one that computes *keys*, in one round trip.

        Args:
            keys: Keys that were missing.

            lease_s: Seconds after which others stop waiting for us.

            within_s: Seconds to wait at most; the lookup budget where None.
        """
        now_ms = self._now_ms()
        lease_ms = max(1, int(lease_s * 1000))
        frame = Frame(FrameKind.LEASE, now_ms, now_ms + lease_ms, os.urandom(8))
        leases = [encode_frame(key, frame) for key in keys]
        commands = [
            Command(key, ("SET", key, lease, "NX", "PX", lease_ms))
            for key, lease in zip(keys, leases, strict=True)
        ]
        replies = await self._within_budget("claim", partial(self._route.send, commands), within_s)
        if replies is None:
            return [Claim(ClaimState.UNKNOWN, lease) for lease in leases]
        return [Claim(_claim_state(reply), lease) for reply, lease in zip(replies, leases, strict=True)]

    def release(self, leases: Mapping[bytes, bytes]) -> None:
        """Give back leases (key -> `Claim.lease`) that no value will replace; started and forgotten."""
        self._start_write(self._send_release(dict(leases)), len(leases))

    def set_many(self, values: Mapping[bytes, bytes], ttl_s: float) -> None:
        """Store *values* (key -> answer) for *ttl_s* seconds; started and forgotten, or dropped and counted."""
        self._start_write(self._send_values(dict(values), ttl_s), len(values))

    async def purge_stamps(self) -> dict[bytes, int] | None:
        """When models were purged: prefix of their keys -> milliseconds since 1970; None if Redis doesn't say."""
        command = Command(PURGES_KEY, ("HGETALL", PURGES_KEY))
        replies = await self._within_budget("purges", partial(self._route.send, [command]), None)
        if not replies or not isinstance(replies[0], dict):
            return None
        return {prefix: int(stamp) for prefix, stamp in replies[0].items() if stamp.isdigit()}

    async def drain(self, timeout_s: float) -> None:
        """Wait for the writes under way, *timeout_s* seconds at most."""
        if self._writes:
            await asyncio.wait(self._writes, timeout=timeout_s)

    async def aclose(self) -> None:
        """Give up what is under way and close all connections."""
        pending = [*self._reads, *self._writes]
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._route.aclose()

    async def _within_budget(
        self,
        operation: str,
        ask: Callable[[Wait], Coroutine[None, None, list[Reply]]],
        within_s: float | None,
    ) -> list[Reply] | None:
        """Wait for *ask* within the budget and leave it running behind it; None where it wasn't ready."""
        budget_s = self.limits.lookup_budget_s if within_s is None else within_s
        if budget_s <= 0:
            return None
        began = time.monotonic()
        wait = Wait()
        task = asyncio.create_task(ask(wait), name=f"cache-{operation}")
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)
        is_busy = True
        for _ in range(_ROUNDS):
            due = time.monotonic() + budget_s
            await asyncio.wait([task], timeout=budget_s)
            if task.done() or not (is_busy := await _is_loop_busy(budget_s, due)):
                break
            # Our own loop is slow to turn, and the reply or even the question lies there unread. That is not
            # Redis's fault: to believe so would switch the cache off just when we have the most to do.
        self._observer.latency(operation, time.monotonic() - began)
        if task.done():
            return task.result()
        wait.given_up = True
        # While we are busy only the socket's timeout says that Redis fails.
        wait.is_too_late = not is_busy
        return None

    def _start_write(self, write: Coroutine[None, None, None], items: int) -> None:
        """Start *write* unless too many wait already."""
        if len(self._writes) >= self.limits.pending_writes:
            write.close()
            self._observer.set_dropped(items, "busy")
            return
        task = asyncio.create_task(write, name="cache-write")
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)

    async def _send_values(self, values: dict[bytes, bytes], ttl_s: float) -> None:
        """Write all *values* in one pipeline and count what wasn't taken."""
        now_ms = self._now_ms()
        ttl_ms = max(1, int(ttl_s * 1000))
        commands = []
        for key, value in values.items():
            frame = Frame(FrameKind.VALUE, now_ms, now_ms + ttl_ms, value)
            commands.append(Command(key, ("SET", key, encode_frame(key, frame), "PX", ttl_ms)))
        replies = await self._route.send(commands)
        refused = sum(isinstance(reply, ResponseError) for reply in replies)
        unavailable = sum(isinstance(reply, Exception) for reply in replies) - refused
        if refused:
            # Full (OOM), read-only, or not permitted: it is well and doesn't want our values.
            self._observer.set_dropped(refused, "refused")
        if unavailable:
            self._observer.set_dropped(unavailable, "unavailable")

    async def _send_release(self, leases: dict[bytes, bytes]) -> None:
        """Delete the leases that are still ours; what can't be deleted runs out by itself."""
        commands = [Command(key, ("EVAL", _RELEASE, 1, key, lease)) for key, lease in leases.items()]
        await self._route.send(commands)

    def _now_ms(self) -> int:
        """Milliseconds since 1970."""
        return int(self._clock() * 1000)


async def _is_loop_busy(budget_s: float, due: float) -> bool:
    """
    Whether our event loop was or is so slow that even a reply at once could miss the budget.

    Args:
        budget_s: The budget, in seconds.

        due: When a timer should have gone off just now, by the monotonic clock: lateness shows a standstill that is
            over.
    """
    now = time.monotonic()
    if now - due > _LATENESS_S:
        return True
    await asyncio.sleep(0)
    return (time.monotonic() - now) * _TURNS > budget_s


def _read_reply(key: bytes, reply: Reply, now_ms: int) -> Lookup:
    """What *reply* says about *key*."""
    if reply is None:
        return _MISS
    if isinstance(reply, Exception):
        # A list or a hash under our key is garbage as well; other refusals say nothing about the key.
        return _GARBAGE if str(reply).startswith("WRONGTYPE") else _FAILED
    frame = decode_frame(key, reply)
    if frame is None:
        return _GARBAGE
    if now_ms >= frame.expires_ms:
        return _OUT_OF_DATE
    if frame.kind is FrameKind.LEASE:
        return _LEASED
    age_s = max(0, now_ms - frame.computed_ms) / 1000
    return Lookup(LookupState.HIT, frame.value, age_s, (frame.expires_ms - now_ms) / 1000)


def _claim_state(reply: Reply) -> ClaimState:
    """What the answer to SET NX says about who computes."""
    if isinstance(reply, Exception):
        return ClaimState.UNKNOWN
    return ClaimState.THEIRS if reply is None else ClaimState.OURS
