"""
How much work one model's queue takes in before it says "full"; pure, with the clock passed in.

Two questions, because two kinds of callers wait differently.

Small requests want an answer soon. They are bounded by a number of admitted items that adapts by additive increase,
multiplicative decrease. The signal is the time that items stood in the queue before their call left, compared with how
long calls take: with "batch while busy" an item waits for about one call when the model is just saturated, and longer
only when more is admitted than it can do.

1. Waits above the target: the bound shrinks by a tenth, at most once per call's duration.
2. Waits within the target while the bound was in the way: it grows by a quarter of a batch.
3. Otherwise it stays: an idle service learns nothing.

Large requests want to be done within the time that they brought. They take turns behind the small ones (`fair_queue`),
so what they wait for is known: their own items as often as there are others at it. One is taken in if, at the pace of
the last full calls, that is over within half of its time.

So a Triton that slows lowers what is admitted (calls last longer, fewer leave, waits grow past the target), and one
that recovers raises it again. Low priorities are refused first, but each tier keeps a part of its fair share.

Source:
    Chiu and Jain 1989, Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks
    (AIMD); Nichols and Jacobson 2012, Controlling Queue Delay, ACM Queue 10(5) (the time spent in the queue as signal).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from facade.errors import Overloaded
from facade.inference.fair_queue import TURN_ITEMS

if TYPE_CHECKING:
    from facade.inference.fair_queue import Share

DECREASE = 0.9
"""What remains of the bound when waits are too long."""

WAIT_FLOOR_S = 0.02
"""Waits below this are never too long: they are the loop's own granularity, in seconds."""

CALLS_WAITED = 0.5
"""
The oldest item of a call may have waited for so many typical calls.

With several calls under way, half of one passes until the next ends when the model is just busy. What is admitted
answers to this late, after calls, and overshoots: at 1.5, p99 under four times the capacity was four calls long.
"""

GROWTH = 0.25
"""Part of a batch by which the bound grows: a whole one with each call outruns what shrinking takes back."""

START = 2
"""The bound starts at so many times its minimum: from far above, it shrinks for many slow calls before it fits."""

SMOOTHING = 0.2
"""Weight of the newest call in the typical duration."""

PRIORITY_RESERVE = 0.1
"""Part of the bound that each step of priority leaves for the higher ones."""

GUARANTEED = 0.5
"""Part of its fair share that a tier can always use, whatever the others do."""

PATIENCE = 0.5
"""
Part of its time by which a large request has to be expected done. Small ones may take three quarters of the model
meanwhile, and a pace is only an estimate: the other half is for what wasn't expected.
"""

LARGE_CALL_S = 0.1
"""
What a call with items of large requests may be expected to take while small ones come, since those wait for its end.

Two cores, MiniLM, 4 callers of 512 texts beside 8 of one: whole calls of 64 took 0.36 s and a single text 0.54 s; at
0.1 s a single text took 0.14 s, and the texts of all together went down by a tenth. At 0.05 s it was half.
"""

LEAST_PART = 4
"""
Such a call is never shorter than this part of a batch: below it a call costs more than its items, the items seem to
take longer, and the next call would be shorter still. Calls of 8 MiniLM texts do half of what calls of 16 do.
"""

MAX_LARGE_BYTES = 128 * 1024 * 1024
"""Bytes of large requests that one model holds; further ones are refused."""

TIER_NAMES_LIMIT = 256
"""Tiers whose admitted items are counted apart."""


@dataclass(slots=True)
class Admission:
    """The bound of one model version."""

    min_items: int
    """The bound never goes below this: what the calls under way hold, or they would idle."""

    max_items: int
    """The bound never goes above this, and no large request joins others once so many items are inside: memory."""

    batch_items: int
    """Items of a full call; the bound grows by a part of it."""

    limit: float = 0.0
    """The present bound on admitted items of small requests."""

    admitted: int = 0
    """Items taken in and not yet answered, of small requests and of large ones."""

    admitted_large: int = 0
    """Large requests among them."""

    admitted_large_bytes: int = 0
    """What these weigh."""

    item_s: float | None = None
    """Seconds that one item takes of a busy model, smoothed; None before the first full call."""

    call_duration_s: float | None = None
    """A typical call's duration, smoothed; None before the first."""

    admitted_small: int = 0
    """Items that came in small requests."""

    by_tier: Counter[str] = field(default_factory=Counter)
    """Admitted items by tier."""

    weights: dict[str, float] = field(default_factory=dict)
    """Effective weights of the tiers seen."""

    was_in_the_way: bool = False
    """Whether the bound was nearly reached since the last step."""

    shrunk_at: float = float("-inf")
    """When the bound last shrank, on the caller's clock, in seconds."""

    def __post_init__(self) -> None:
        if not self.limit:
            self.limit = float(min(self.min_items * START, self.max_items))

    def check(self, items: int, share: Share, *, size_bytes: int = 0, time_left_s: float = math.inf) -> None:
        """
        Refuse items for which there is no room.

        A request may overshoot a bound by its own size, once: otherwise the largest could never enter.

        Args:
            items: How many.

            share: The caller's tier.

            size_bytes: What they weigh together.

            time_left_s: Seconds until the caller's deadline.

        Raises:
            Overloaded: If the model has as much work as it can do in good time.
        """
        if len(self.weights) < TIER_NAMES_LIMIT or share.tier in self.weights:
            self.weights[share.tier] = share.effective_weight
        openness = max(GUARANTEED, 1 - PRIORITY_RESERVE * (max(share.priority, 1) - 1))
        if items <= TURN_ITEMS:
            self._check_small(share, openness)
        elif self.admitted_large:
            self._check_large(items, size_bytes, share, openness * PATIENCE * time_left_s)

    def enter(self, items: int, share: Share, *, size_bytes: int = 0, time_left_s: float = math.inf) -> None:
        """
        Take items in, or refuse them at once.

        Args:
            items: How many.

            share: The caller's tier.

            size_bytes: What they weigh together.

            time_left_s: Seconds until the caller's deadline.

        Raises:
            Overloaded: As `check` does.
        """
        self.check(items, share, size_bytes=size_bytes, time_left_s=time_left_s)
        self._count(items, share, size_bytes, 1)
        if items <= TURN_ITEMS and self.admitted_small >= 0.9 * self.limit:
            self.was_in_the_way = True

    def leave(self, items: int, share: Share, *, size_bytes: int = 0) -> None:
        """Give back what `enter` took, whatever became of it."""
        self._count(items, share, size_bytes, -1)
        if self.by_tier[share.tier] <= 0:
            del self.by_tier[share.tier]

    def learn(
        self, *, waited_s: float | None, call_s: float, now: float, item_s: float | None = None
    ) -> None:
        """
        Adapt the bound after a call.

        Args:
            waited_s: The longest time that one of its items of small requests stood in the queue, in seconds; None if
                it had none.

            call_s: How long the call took, in seconds.

            now: On the caller's clock, in seconds.

            item_s: What one of its items took of the model, in seconds, other calls of that time taken into account;
                None if the call left with room for more, so that it says nothing of a busy model.
        """
        self.call_duration_s = _smooth(self.call_duration_s, call_s)
        if item_s is not None:
            self.item_s = _smooth(self.item_s, item_s)
        if waited_s is None:
            return
        target_s = max(WAIT_FLOOR_S, CALLS_WAITED * self.call_duration_s)
        if waited_s > target_s:
            if now - self.shrunk_at >= self.call_duration_s:
                self.limit = max(float(self.min_items), self.limit * DECREASE)
                self.shrunk_at = now
        elif self.was_in_the_way:
            self.limit = min(float(self.max_items), self.limit + GROWTH * self.batch_items)
        self.was_in_the_way = False

    def find_large_limit(self, calls: int) -> int:
        """
        Tell with how many items a call is full for large requests while small ones come.

        Args:
            calls: How many are under way at once.

        Returns:
            What takes `LARGE_CALL_S`, at least a quarter of a batch.
        """
        if not self.item_s:
            return self.batch_items
        return max(self.batch_items // LEAST_PART, int(LARGE_CALL_S / (self.item_s * calls)))

    def _check_small(self, share: Share, openness: float) -> None:
        if self.admitted_small >= self.limit * openness and not self._is_owed(share):
            self.was_in_the_way = True
            raise _full(max(0.25, 4 * (self.call_duration_s or 0.0)))

    def _check_large(self, items: int, size_bytes: int, share: Share, patience_s: float) -> None:
        """Refuse another large request, where there are some already, if it would take too long."""
        if self.admitted >= self.max_items or self.admitted_large_bytes + size_bytes > MAX_LARGE_BYTES:
            raise _full(max(1.0, (self.item_s or 0.0) * self.admitted / 2))
        # Turns go round: until ours are over, each other request has at most as many as we have.
        ahead = min(self.admitted, items * self.admitted_large)
        expected_s = (ahead + items) * (self.item_s or 0.0)
        if expected_s > patience_s and not self._is_owed(share):
            raise _full(max(1.0, expected_s - patience_s))

    def _count(self, items: int, share: Share, size_bytes: int, sign: int) -> None:
        """Add a request to the books, or take it out."""
        self.admitted += sign * items
        self.by_tier[share.tier] += sign * items
        if items <= TURN_ITEMS:
            self.admitted_small += sign * items
        else:
            self.admitted_large += sign
            self.admitted_large_bytes += sign * size_bytes

    def _is_owed(self, share: Share) -> bool:
        """Whether a tier has less inside than is always its own."""
        present = self.by_tier.keys() | {share.tier}
        total = sum(self.weights.get(tier, 0.0) for tier in present) or 1.0
        own = GUARANTEED * self.limit * self.weights.get(share.tier, 0.0) / total
        return self.by_tier[share.tier] < own


def _smooth(before: float | None, new: float) -> float:
    return new if before is None else before + SMOOTHING * (new - before)


def _full(retry_after_s: float) -> Overloaded:
    return Overloaded("The model has as much work as it can do in good time.", retry_after_s=retry_after_s)
