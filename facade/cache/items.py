"""
The use case: look a request's items up, compute what is missing once, give all back in order.

Where an item's answer comes from, in this order:

1. memory, at once
2. somebody in this process who is bringing it already
3. Redis, one round trip for all that is left
4. another replica that promised it in Redis (a lease), for as long as the lease runs
5. *compute*, one call for all that is left; a further call only for what another replica promised and didn't keep

Steps 3 to 5 run in a background work (`facade.cache.fill`) that any number of requests can wait for.
"""

import asyncio
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import NamedTuple

from facade.cache.fill import Compute, Filler, Item, Job, Uncached, compute_all, flight_key, is_young
from facade.cache.keys import model_prefix
from facade.cache.memory import MemoryTier
from facade.cache.observer import CacheObserver, SilentObserver
from facade.cache.policy import NO_DIRECTIVES, Directives, Outcome, outcome_word
from facade.cache.redis_tier import RedisTier
from facade.cache.single_flight import Flight, SingleFlight
from facade.errors import CallerLeft, DeadlineExceeded, FacadeError, NotCached

__all__ = ["CacheAnswer", "Compute", "ItemCache", "Uncached"]

DEFAULT_LEASE_S = 2.0
"""Seconds that replicas wait for the one that computes; it should exceed nearly all calls to Triton."""

_THE_OTHERS_OWN = (DeadlineExceeded, CallerLeft)
"""Failures that belong to the request that started a computation, and not to those who joined it."""


class CacheAnswer(NamedTuple):
    """A request's answers, and what the caller is told about them."""

    values: list[bytes]
    """One answer per item, in the request's order."""

    outcome: Outcome
    """Word for ``X-Cache``."""

    age_s: float
    """Age of the oldest stored answer among them, for ``Age``; 0 where all are new."""

    from_memory: int
    """Number of items that this process held."""

    from_redis: int
    """Number of items that Redis held."""

    computed: int
    """Number of items that had to be computed, by this request or one that it joined."""


class ItemCache:
    """
    Both tiers, and one computation at a time for each key.

    Args:
        memory: First tier.

        redis: Second tier; None where no Redis is configured.

        observer: Told about hits and misses.

        lease_s: Seconds that a computation in another replica is waited for; 0 switches that off, which saves a
            round trip on each miss.
    """

    def __init__(
        self,
        memory: MemoryTier,
        redis: RedisTier | None = None,
        *,
        observer: CacheObserver | None = None,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        self._memory = memory
        self._redis = redis
        self._observer = observer or SilentObserver()
        self._flights: SingleFlight[Item] = SingleFlight()
        self._filler = Filler(memory, redis, self._flights, lease_s)

    def recall(
        self, keys: Sequence[bytes], *, ttl_s: float, directives: Directives = NO_DIRECTIVES
    ) -> CacheAnswer | None:
        """
        Answer at once the most frequent request by far: one item, which this process holds, and no special wishes.

        Args:
            keys: As `get_or_compute` has them.

            ttl_s: The same.

            directives: The same.

        Returns:
            The answer; None if `get_or_compute` has to be asked.
        """
        if len(keys) != 1 or ttl_s <= 0 or directives is not NO_DIRECTIVES:
            return None
        hit = self._memory.get(keys[0])
        if hit is None:
            return None
        self._observer.hit("memory", 1)
        return CacheAnswer([hit.value], "hit-memory", hit.age_s, 1, 0, 0)

    async def get_or_compute(
        self,
        keys: Sequence[bytes],
        compute: Compute,
        *,
        ttl_s: float,
        directives: Directives = NO_DIRECTIVES,
        check: Callable[[int], None] | None = None,
    ) -> CacheAnswer:
        """
        Answer a request's items.

        Args:
            keys: One key per item, from `facade.cache.keys`; a key that comes twice is computed once.

            compute: Gets the indexes that have to be computed, and returns their answers in that order.

            ttl_s: Seconds that a computed answer is kept; 0 leaves the cache out.

            directives: What the caller asks of the cache.

            check: Raises if so many items can't be computed now; asked before anything is made ready for *compute*,
                where no Redis could have the answers. Refusing many callers has to be cheap.

        Raises:
            NotCached: If the caller wants only stored answers and one is missing.
            Exception: What *compute* or *check* raised, here or for the request that was joined.
        """
        if directives.only_if_cached:
            return await self._only_look(keys, directives)
        if directives.no_cache or directives.no_store or ttl_s <= 0:
            return await self._bypass(keys, compute, 0.0 if directives.no_store else ttl_s)
        max_age_s = directives.max_age_s
        found, missing = self._look_in_memory(keys, max_age_s)
        if missing:
            job = Job(missing, compute, ttl_s, max_age_s, check=check if self._redis is None else None)
            await self._share(job, found)
        return self._assemble(keys, found)

    @property
    def epoch(self) -> int:
        """How often something was purged; see `keep`."""
        return self._filler.epoch

    async def look(self, key: bytes, directives: Directives = NO_DIRECTIVES) -> CacheAnswer | None:
        """
        Look up one item whose answer is long in coming, and is kept with `keep` once it is whole.

        Args:
            key: From `facade.cache.keys`.

            directives: What the caller asks of the cache.

        Returns:
            The stored answer; None if it has to be computed.

        Raises:
            NotCached: If the caller wants only a stored answer and there is none.
        """
        if directives.only_if_cached:
            return await self._only_look([key], directives)
        if directives.no_cache or directives.no_store:
            self._observer.bypass(1)
            return None
        found, missing = self._look_in_memory([key], directives.max_age_s)
        if missing:
            found.update(await self._filler.look(list(missing), directives.max_age_s))
        if not found:
            self._observer.miss(1)
            return None
        return self._assemble([key], found)

    def keep(self, key: bytes, value: bytes, ttl_s: float, *, epoch: int) -> None:
        """
        Keep an answer, unless something was purged since its computation began.

        Args:
            key: From `facade.cache.keys`.

            value: The answer's bytes.

            ttl_s: Seconds that it is kept.

            epoch: What `epoch` was when the computation began.
        """
        if epoch == self._filler.epoch:
            self._filler.keep({key: value}, ttl_s)

    def forget(self, model: str) -> int:
        """Drop a model's answers from this process; returns how many there were. See `facade.cache.purge`."""
        return self._forget_prefix(model_prefix(model))

    async def follow_purges(self, interval_s: float = 2.0) -> None:
        """
        Drop what is purged in Redis from this process as well; runs until it is cancelled.

        Args:
            interval_s: Seconds between looks, and so the time that a purge takes to be complete.
        """
        if self._redis is None:
            return
        # What was purged before we began is no news. If Redis doesn't say, all that it says later is taken for news:
        # to forget once too often only costs a computation. Stamps are compared and not ordered, as clocks differ.
        seen = await self._redis.purge_stamps() or {}
        while True:
            await asyncio.sleep(interval_s)
            for prefix, stamp_ms in (await self._redis.purge_stamps() or {}).items():
                if seen.get(prefix) != stamp_ms:
                    self._forget_prefix(prefix)
                seen[prefix] = stamp_ms

    async def aclose(self, *, drain_s: float = 1.0) -> None:
        """Stop all computations, give writes under way *drain_s* seconds to end, and close all connections."""
        await self._flights.aclose()
        if self._redis is not None:
            await self._redis.drain(drain_s)
            await self._redis.aclose()

    def _look_in_memory(
        self, keys: Sequence[bytes], max_age_s: int | None
    ) -> tuple[dict[bytes, Item], dict[bytes, int]]:
        """Sort keys into answers that are here and, with the index of their first item, those that aren't."""
        found: dict[bytes, Item] = {}
        missing: dict[bytes, int] = {}
        for index, key in enumerate(keys):
            if key in found or key in missing:
                continue
            hit = self._memory.get(key)
            if hit is not None and is_young(hit.age_s, max_age_s):
                found[key] = Item(hit.value, hit.age_s, "memory")
            else:
                missing[key] = index
        return found, missing

    async def _share(self, job: Job, found: dict[bytes, Item]) -> None:
        """Start a work for what nobody brings yet, join the others, and add all that comes to *found*."""
        if len(job.indexes) == 1:
            await self._share_one(job, found)
            return
        missing = dict(job.indexes)
        while missing:
            flights = {key: self._flights.find(flight_key(key, job.max_age_s)) for key in missing}
            mine = {key: missing[key] for key, flight in flights.items() if flight is None}
            joined = {key: flight for key, flight in flights.items() if flight is not None}
            own: dict[bytes, Flight[Item]] = {}
            if mine:
                if job.check is not None:
                    job.check(len(mine))
                part = Job(mine, job.compute, job.ttl_s, job.max_age_s)
                tags = {flight_key(key, job.max_age_s): key for key in mine}
                work = self._flights.start(list(tags), partial(self._filler.fill, part))
                own = {tags[tag]: flight for tag, flight in work.flights.items()}
            with self._flights.attending([*own.values(), *joined.values()]):
                again = await _gather(own, joined, found)
            missing = {key: missing[key] for key in again}

    async def _share_one(self, job: Job, found: dict[bytes, Item]) -> None:
        """Do what `_share` does for one key, the most frequent number, at a third of its cost."""
        (key,) = job.indexes
        tag = flight_key(key, job.max_age_s)
        while key not in found:
            joined = self._flights.find(tag)
            if joined is None and job.check is not None:
                job.check(1)
            flight = joined or self._flights.start([tag], partial(self._filler.fill, job)).flights[tag]
            with self._flights.attending([flight]):
                try:
                    # Whoever leaves stops waiting, and no more: others wait for the same.
                    found[key] = await asyncio.shield(flight.future)
                except Exception as error:  # noqa: BLE001  # it goes up, or the key is asked for again
                    if joined is None or not isinstance(error, _THE_OTHERS_OWN):
                        raise _own_copy(error) from None

    async def _only_look(self, keys: Sequence[bytes], directives: Directives) -> CacheAnswer:
        """Answer from what is stored, or not at all."""
        found: dict[bytes, Item] = {}
        if not directives.no_cache:
            found, missing = self._look_in_memory(keys, directives.max_age_s)
            if missing:
                found.update(await self._filler.look(list(missing), directives.max_age_s))
        if any(key not in found for key in keys):
            raise NotCached(
                "Not every answer is stored, and Cache-Control: only-if-cached rules computing out."
            )
        return self._assemble(keys, found)

    async def _bypass(self, keys: Sequence[bytes], compute: Compute, ttl_s: float) -> CacheAnswer:
        """Compute all, whatever is stored, and keep it unless *ttl_s* is 0."""
        first: dict[bytes, int] = {}
        for index, key in enumerate(keys):
            first.setdefault(key, index)
        epoch = self._filler.epoch
        answers = dict(zip(first, await compute_all(compute, list(first.values())), strict=True))
        if ttl_s > 0 and epoch == self._filler.epoch:
            kept = {key: answer for key, answer in answers.items() if not isinstance(answer, Uncached)}
            self._filler.keep(kept, ttl_s)
        self._observer.bypass(len(keys))
        values = [_value_of(answers[key]) for key in keys]
        return CacheAnswer(values, "bypass", 0.0, 0, 0, len(keys))

    def _assemble(self, keys: Sequence[bytes], found: dict[bytes, Item]) -> CacheAnswer:
        """Put answers in the request's order and count where they came from."""
        items = [found[key] for key in keys]
        from_memory = from_redis = 0
        age_s = 0.0
        for item in items:
            age_s = max(age_s, item.age_s)
            if item.source == "memory":
                from_memory += 1
            elif item.source == "redis":
                from_redis += 1
        computed = len(items) - from_memory - from_redis
        if from_memory:
            self._observer.hit("memory", from_memory)
        if from_redis:
            self._observer.hit("redis", from_redis)
        if computed:
            self._observer.miss(computed)
        outcome = outcome_word(from_memory, from_redis, computed)
        return CacheAnswer([item.value for item in items], outcome, age_s, from_memory, from_redis, computed)

    def _forget_prefix(self, prefix: bytes) -> int:
        """Drop what is under *prefix* and keep nothing of what is being computed."""
        # What is being computed now may be what somebody wants gone: it is answered, and not kept.
        self._filler.epoch += 1
        return self._memory.forget(prefix)


async def _gather(
    own: dict[bytes, Flight[Item]], joined: dict[bytes, Flight[Item]], found: dict[bytes, Item]
) -> list[bytes]:
    """
    Wait for all flights and add their answers to *found*.

    Returns:
        Keys whose joined flight failed for a reason of its starter's alone; to be tried again.

    Raises:
        Exception: The first failure that counts for us, as soon as it is known.
    """
    keys = {flight.future: key for key, flight in (*own.items(), *joined.items())}
    pending = set(keys)
    again: list[bytes] = []
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_EXCEPTION)
        for future in done:
            key = keys[future]
            error = future.exception()
            if error is None:
                found[key] = future.result()
            elif key in joined and isinstance(error, _THE_OTHERS_OWN):
                again.append(key)
            else:
                raise _own_copy(error)
    return again


def _value_of(answer: bytes | Uncached) -> bytes:
    """The answer's bytes, whether it may be kept or not."""
    return answer.value if isinstance(answer, Uncached) else answer


def _own_copy(error: BaseException) -> BaseException:
    """The same failure for one of several who wait: headers are added to it on the way up."""
    if not isinstance(error, FacadeError):
        return error
    own = copy(error)
    own.headers = dict(error.headers)
    own.__cause__ = error
    return own
