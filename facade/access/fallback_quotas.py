"""
Quotas counted together while Redis answers, else by each host or process for itself at its share of the limits.

::

    shared ── failures in a row ──> local ── a probe in the background succeeds ──> shared

No caller pays for a probe: while counting is local, Redis costs a request nothing.
"""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from facade.access.keys import Key, Tier
from facade.access.quotas import UNLIMITED, Lease, Quotas
from facade.access.redis_quotas import RedisQuotas
from facade.access.round_trips import SharedCountLost
from facade.errors import RateLimited

_log = logging.getLogger(__name__)


class LocalQuotas(Quotas, Protocol):
    """A counting that gets along without Redis."""

    replicas: int
    """How many such countings share the limits."""


class FallbackQuotas:
    """
    The choice between the two.

    Args:
        shared: Counts with everybody. Closed with this.

        local: Counts alone; its ``replicas`` is how many like it share the limits.

        failures_to_open: Failures in a row after which Redis isn't asked any more. Calls that travelled together
            fail together and count each; until then a caller waits for the timeout and is then counted locally.

        probe_every_s: Seconds between probes, jittered by a quarter.

        on_change: Told whether counting is shared, on each change.
    """

    def __init__(
        self,
        shared: RedisQuotas,
        local: LocalQuotas,
        *,
        failures_to_open: int = 3,
        probe_every_s: float = 1.0,
        on_change: Callable[[bool], None] | None = None,
    ) -> None:
        self._shared = shared
        self._local = local
        self._failures_to_open = failures_to_open
        self._probe_every_s = probe_every_s
        self._on_change = on_change
        self._failures = 0
        self._probing: asyncio.Task[None] | None = None
        self.is_shared = True
        """Whether Redis is asked; False while each process counts for itself."""

        self.fallbacks = 0
        """Requests that were counted locally, since the start."""

        shared.on_lost = self._note_failure

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
        if self.is_shared:
            try:
                lease = await self._shared.admit(key, tier, cost_requests)
            except SharedCountLost as lost:
                self._note_failure(lost)
            except RateLimited:
                self._failures = 0
                raise
            else:
                self._failures = 0
                return lease
        self.fallbacks += 1
        return await self._local.admit(key, tier, cost_requests)

    async def aclose(self) -> None:
        """Stop probing and close both."""
        if self._probing is not None:
            self._probing.cancel()
            await asyncio.wait([self._probing])
        await self._shared.aclose()
        await self._local.aclose()

    def _note_failure(self, lost: SharedCountLost) -> None:
        self._failures += 1
        if self.is_shared and self._failures >= self._failures_to_open:
            _log.warning("quotas: counting locally at 1/%d of each limit (%s)", self._local.replicas, lost)
            self._set_shared(is_shared=False)
            self._probing = asyncio.create_task(self._probe(), name="quota-probe")

    async def _probe(self) -> None:
        """Ask Redis now and then until it answers."""
        began = time.monotonic()
        while not self.is_shared:
            # Replicas that lost Redis together shouldn't come back to it together.
            await asyncio.sleep(self._probe_every_s * random.uniform(0.75, 1.25))  # noqa: S311 - not a secret
            try:
                await self._shared.probe()
            except SharedCountLost as lost:
                _log.debug("quotas: Redis still doesn't count (%s)", lost)
            else:
                self._failures = 0
                self._set_shared(is_shared=True)
                _log.warning("quotas: counting together again after %.1f s", time.monotonic() - began)

    def _set_shared(self, *, is_shared: bool) -> None:
        self.is_shared = is_shared
        if self._on_change is not None:
            self._on_change(is_shared)
