"""
The background half of `facade.cache.items`: bring the answers of keys that memory doesn't hold.

Redis is asked once for all of them, then once more to claim what is missing. What is ours is computed while we
wait for what other replicas promised: waiting first would have two replicas wait for each other. Nothing that
Redis does or fails to do ends a work with an error; only *compute* can.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from facade.cache.memory import MemoryTier
from facade.cache.redis_tier import ClaimState, Lookup, LookupState, RedisTier
from facade.cache.single_flight import Flight, SingleFlight, Work

FIRST_POLL_S = 0.002
"""Seconds to the first look whether another replica's answer has come."""

LAST_POLL_S = 0.05
"""Seconds between looks in the end; each is half as long again as the one before."""


class Item(NamedTuple):
    """The answer for one item, and where it came from."""

    value: bytes
    """The answer's bytes."""

    age_s: float
    """Seconds since it was computed."""

    source: Literal["memory", "redis", "computed"]
    """The tier that held it, or that nobody did."""


class Uncached(NamedTuple):
    """What *compute* returns in place of bytes for an answer that must not be kept."""

    value: bytes
    """The answer's bytes."""


Compute = Callable[[list[int]], Awaitable[Sequence[bytes | Uncached]]]
"""Computes the items at the given indexes of a request, in that order."""


@dataclass(slots=True)
class Job:
    """What one request wants to have brought."""

    indexes: Mapping[bytes, int]
    """Key -> the index of its first item in the request."""

    compute: Compute
    """The request's own way to an answer."""

    ttl_s: float
    """Seconds that a computed answer is kept."""

    max_age_s: int | None
    """Oldest stored answer that will do, in seconds."""

    flights: dict[bytes, Flight[Item]] = field(default_factory=dict)
    """Key -> where to land its answer."""

    leases: dict[bytes, bytes] = field(default_factory=dict)
    """Key -> the mark of a lease that we hold in Redis, or may hold."""

    epoch: int = 0
    """How often something had been purged when the job began."""

    check: Callable[[int], None] | None = None
    """Raises if so many items can't be computed now; None where that is only known once they are tried."""


class Filler:
    """
    Brings answers from Redis, from other replicas, or by computing them, and keeps them.

    Args:
        memory: First tier.

        redis: Second tier, or None.

        flights: Where answers are waited for.

        lease_s: Seconds that another replica's promise is waited for; 0 makes and heeds none.
    """

    def __init__(
        self, memory: MemoryTier, redis: RedisTier | None, flights: SingleFlight[Item], lease_s: float
    ) -> None:
        self.epoch = 0
        self._memory = memory
        self._redis = redis
        self._flights = flights
        self._lease_s = lease_s

    async def fill(self, job: Job, work: Work[Item]) -> None:
        """Land the flight of each of the job's keys."""
        job.epoch = self.epoch
        job.flights = {key: work.flights[flight_key(key, job.max_age_s)] for key in job.indexes}
        keys = list(job.indexes)
        if self._redis is None:
            await self._compute(job, keys)
            return
        began = time.monotonic()
        ours, blank, theirs = self._land_hits(job, keys, await self._redis.get_many(keys))
        if self._lease_s <= 0:
            ours += blank + theirs
            blank, theirs = [], []
        if blank:
            left_s = self._redis.limits.lookup_budget_s - (time.monotonic() - began)
            granted, refused = await self._claim(job, blank, left_s)
            ours += granted
            theirs += refused
        try:
            if theirs:
                await asyncio.gather(self._compute(job, ours), self._follow(job, theirs))
            else:
                await self._compute(job, ours)
        except BaseException:
            # Cancelled: all callers have left, perhaps before anything began.
            self._release(job, list(job.leases))
            raise

    async def look(self, keys: Sequence[bytes], max_age_s: int | None) -> dict[bytes, Item]:
        """What Redis holds of *keys*, without computing anything."""
        if self._redis is None:
            return {}
        found: dict[bytes, Item] = {}
        for key, lookup in zip(keys, await self._redis.get_many(keys), strict=True):
            if _is_wanted(lookup, max_age_s):
                found[key] = self._take(key, lookup)
        return found

    def keep(self, values: Mapping[bytes, bytes], ttl_s: float) -> None:
        """Store computed answers in both tiers."""
        for key, value in values.items():
            self._memory.set(key, value, ttl_s)
        if values and self._redis is not None:
            self._redis.set_many(values, ttl_s)

    def _land_hits(
        self, job: Job, keys: Sequence[bytes], lookups: Sequence[Lookup]
    ) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """
        Land what Redis has.

        Returns:
            The other keys: those to compute without asking, those with nothing under them, and those that another
            replica promised.
        """
        ours: list[bytes] = []
        blank: list[bytes] = []
        theirs: list[bytes] = []
        for key, lookup in zip(keys, lookups, strict=True):
            if _is_wanted(lookup, job.max_age_s):
                self._flights.land(job.flights[key], self._take(key, lookup))
            elif lookup.state is LookupState.MISS:
                blank.append(key)
            elif lookup.state is LookupState.LEASED:
                theirs.append(key)
            else:
                # Garbage, too old, or unknown: a claim would be refused or cost more of the budget.
                ours.append(key)
        return ours, blank, theirs

    def _take(self, key: bytes, lookup: Lookup) -> Item:
        """Keep in memory what Redis had, no longer than it would be kept there."""
        self._memory.set(key, lookup.value, lookup.remaining_s, age_s=lookup.age_s)
        return Item(lookup.value, lookup.age_s, "redis")

    async def _claim(
        self, job: Job, keys: Sequence[bytes], within_s: float
    ) -> tuple[list[bytes], list[bytes]]:
        """Ask to compute *keys*; returns those that we shall compute, and those that another replica computes."""
        assert self._redis is not None  # noqa: S101  # only called where there is one
        granted: list[bytes] = []
        refused: list[bytes] = []
        claims = await self._redis.claim(keys, self._lease_s, within_s=within_s)
        for key, claim in zip(keys, claims, strict=True):
            if claim.state is ClaimState.THEIRS:
                refused.append(key)
            else:
                # Also where Redis didn't say in time: it may have granted the lease after we stopped waiting.
                job.leases[key] = claim.lease
                granted.append(key)
        return granted, refused

    async def _compute(self, job: Job, keys: Sequence[bytes]) -> None:
        """Compute *keys* with one call, keep the answers, and land them or the failure."""
        if not keys:
            return
        try:
            answers = await compute_all(job.compute, [job.indexes[key] for key in keys])
        except Exception as error:  # noqa: BLE001  # it is handed to those who wait
            self._release(job, keys)
            for key in keys:
                self._flights.fail(job.flights[key], error)
            return
        kept = {
            key: answer
            for key, answer in zip(keys, answers, strict=True)
            if not isinstance(answer, Uncached) and job.epoch == self.epoch
        }
        self.keep(kept, job.ttl_s)
        # A value replaces its lease; the others have to be given back.
        self._release(job, [key for key in keys if key not in kept])
        for key in kept:
            job.leases.pop(key, None)
        for key, answer in zip(keys, answers, strict=True):
            value = answer.value if isinstance(answer, Uncached) else answer
            self._flights.land(job.flights[key], Item(value, 0.0, "computed"))

    def _release(self, job: Job, keys: Sequence[bytes]) -> None:
        """Give our leases on *keys* back, so that other replicas needn't wait for nothing."""
        leases = {key: job.leases.pop(key) for key in keys if key in job.leases}
        if leases and self._redis is not None:
            self._redis.release(leases)

    async def _follow(self, job: Job, keys: Sequence[bytes]) -> None:
        """Wait for what other replicas promised; compute what doesn't come."""
        if not keys or self._redis is None:
            return
        deadline = time.monotonic() + self._lease_s
        pause_s = FIRST_POLL_S
        waiting = list(keys)
        while waiting:
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, LAST_POLL_S)
            lookups = await self._redis.get_many(waiting)
            orphans, vanished, waiting = self._land_hits(job, waiting, lookups)
            if vanished:
                # Given back, run out, or evicted: one of those who wait takes it over.
                granted, refused = await self._take_over(job, vanished)
                orphans += granted
                waiting += refused
            if time.monotonic() >= deadline:
                orphans += waiting
                waiting = []
            await self._compute(job, orphans)

    async def _take_over(self, job: Job, keys: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Claim keys whose promise vanished."""
        assert self._redis is not None  # noqa: S101  # only called where there is one
        granted, refused = await self._claim(job, keys, self._redis.limits.lookup_budget_s)
        if refused:
            # Either somebody was faster, or there is something that MGET doesn't show and SET NX respects: a list
            # or a hash under our key. Then there is nobody to wait for.
            lookups = await self._redis.get_many(refused)
            hidden = [
                key for key, lookup in zip(refused, lookups, strict=True) if lookup.state is LookupState.MISS
            ]
            granted += hidden
            refused = [key for key in refused if key not in hidden]
        return granted, refused


async def compute_all(compute: Compute, indexes: list[int]) -> Sequence[bytes | Uncached]:
    """Call *compute* and make sure that it answered for each index."""
    answers = await compute(indexes)
    if len(answers) != len(indexes):
        raise RuntimeError(f"compute gave {len(answers)} answers for {len(indexes)} items. This is a bug.")
    return answers


def flight_key(key: bytes, max_age_s: int | None) -> bytes:
    """What requests must have in common to share a flight: one with a max-age can't take any answer from Redis."""
    return key if max_age_s is None else b"%s max-age=%d" % (key, max_age_s)


def is_young(age_s: float, max_age_s: int | None) -> bool:
    """Whether an answer of *age_s* seconds will do; max-age=0 takes none, not even one of this instant."""
    return max_age_s is None or age_s < max_age_s


def _is_wanted(lookup: Lookup, max_age_s: int | None) -> bool:
    """Whether Redis had an answer that will do."""
    return lookup.state is LookupState.HIT and is_young(lookup.age_s, max_age_s)
