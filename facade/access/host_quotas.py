"""
Quotas counted together by the workers of one host, in a table that they share; no waiting, about ten microseconds.

A worker that can't count there, because its bucket is full or whoever has the bucket's lock is frozen, counts for
itself at its share of the limits. A full bucket then means too little; a frozen worker, for as long as it is frozen, at
most one more share for each of the others.
"""

import logging
import random
import time
from collections.abc import Callable
from pathlib import Path

from facade.access.host_table import HostTable, HostTableInvalid, Spot
from facade.access.keys import Key, Tier
from facade.access.memory_quotas import Account, MemoryQuotas, Terms
from facade.access.quotas import UNLIMITED, WINDOW_S, Lease, Standing

_log = logging.getLogger(__name__)

SPOTS_LIMIT = 65_536
"""Names whose slot is remembered; beyond it all are looked up again."""

ALONE_S = 5.0
"""Seconds for which a worker counts alone after it waited in vain for a lock, so that not each request waits."""


class HostLease:
    """A place in the host's count."""

    __slots__ = ("_quotas", "_spot", "_standing")

    def __init__(self, quotas: "HostQuotas", spot: Spot, standing: Standing) -> None:
        self._quotas = quotas
        self._spot: Spot | None = spot
        self._standing = standing

    def headers(self) -> dict[str, str]:
        """
        Write the caller's standing.

        Returns:
            ``x-ratelimit-*``.
        """
        return self._standing.headers()

    async def release(self, tokens: int = 0) -> None:
        """
        Give the place back and charge *tokens*.

        Args:
            tokens: True count of the answer.
        """
        spot, self._spot = self._spot, None
        if spot is not None:
            self._quotas.give_back(spot, tokens)


class HostQuotas:
    """
    Counts by key name, together with the other workers.

    Args:
        path: The table, made by `host_table.create_table`.

        worker: This process's index.

        replicas: How many hosts share the limits without knowing of each other; each grants 1/replicas of every
            limit, at least 1.

        window_s: Length of "a minute" in seconds; other than 60 in tests only.

        clock: Monotonic seconds, the same for all processes of a host.

        jitter: Uniform in [0, 1).

    Raises:
        HostTableInvalid: If the table can't be used, or has no such worker.
    """

    def __init__(
        self,
        path: Path,
        worker: int,
        replicas: int = 1,
        *,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._table = HostTable(path)
        if not 0 <= worker < self._table.workers:
            self._table.close()
            raise HostTableInvalid(f"{path}: has no worker {worker}")
        self._worker = worker
        self._life = self._table.begin_life(worker)
        self.replicas = replicas
        self._terms = Terms(replicas, window_s, jitter)
        self._clock = clock
        self._alone = MemoryQuotas(
            replicas * self._table.workers, window_s=window_s, clock=clock, jitter=jitter
        )
        self._alone_until: float | None = None
        self._has_told_full = False
        self._spots: dict[str, Spot] = {}
        self._owed: dict[Spot, int] = {}

    async def admit(self, key: Key, tier: Tier, cost_requests: int = 1) -> Lease:
        """
        Take one request's place; see `Quotas.admit`.

        Args:
            key: Who asks.

            tier: What it may use up.

            cost_requests: How many requests it counts for.

        Returns:
            The lease to release.

        Raises:
            RateLimited: If a limit is reached.
        """
        if tier.is_unlimited:
            return UNLIMITED
        spot = self._spots.get(key.name) or self._remember(key.name)
        if self._lock(spot.bucket):
            try:
                now = self._clock()  # under the lock, so that time never goes back for the slot
                if self._table.find(spot, int(now // self._terms.window_s)):
                    return HostLease(self, spot, self._take(spot, tier, cost_requests, now))
            finally:
                self._table.unlock(spot.bucket)
            self._tell_full()
        return await self._alone.admit(key, tier, cost_requests)

    def give_back(self, spot: Spot, tokens: int) -> None:
        """
        Free a place and count tokens in the window in which they became known.

        Args:
            spot: Whose slot; it stays that while the place is held.

            tokens: How many.
        """
        if tokens > 0:
            if self._lock(spot.bucket):
                try:
                    self._charge(spot, tokens, self._clock())
                finally:
                    self._table.unlock(spot.bucket)
            else:
                self._owed[spot] = self._owed.get(spot, 0) + tokens
        self._table.add_place(spot.offset, self._worker, self._life, -1)

    async def aclose(self) -> None:
        """Give all places up and unmap the table."""
        self._table.begin_life(self._worker)
        self._table.close()
        await self._alone.aclose()

    def _take(self, spot: Spot, tier: Tier, cost: int, now: float) -> Standing:
        if self._owed:
            self._charge(spot, self._owed.pop(spot, 0), now)
        account = Account(*self._table.read(spot.offset))
        if tier.max_in_flight is not None:
            account.in_flight = self._table.places(spot.offset)
        standing = account.take(tier, cost, now, self._terms)
        self._table.write(spot.offset, account)
        self._table.add_place(spot.offset, self._worker, self._life, 1)
        return standing

    def _charge(self, spot: Spot, tokens: int, now: float) -> None:
        account = Account(*self._table.read(spot.offset))
        account.roll(int(now // self._terms.window_s))
        account.tokens += tokens
        self._table.write(spot.offset, account)

    def _lock(self, bucket: int) -> bool:
        if self._alone_until is not None:
            if self._clock() < self._alone_until:
                return False
            self._alone_until = None
        if self._table.lock(bucket):
            return True
        _log.warning("quotas: counting alone for %g s, somebody froze in the host's table", ALONE_S)
        self._alone_until = self._clock() + ALONE_S
        return False

    def _remember(self, name: str) -> Spot:
        if len(self._spots) >= SPOTS_LIMIT:
            self._spots.clear()
        spot = self._spots[name] = Spot(name, self._table.buckets)
        return spot

    def _tell_full(self) -> None:
        if not self._has_told_full:
            self._has_told_full = True
            _log.warning("quotas: more keys are busy than the host's table holds; some count alone")
