"""
How much work one model's queue takes in before it says "full"; pure, with the clock passed in.

Strategy: a bound on admitted items that adapts by additive increase, multiplicative decrease. The signal is the time
that items stood in the queue before their call left, compared with how long calls take: with "batch while busy" an item
waits for about one call when the model is just saturated, and longer only when more is admitted than it can do.

1. Waits above the target: the bound shrinks by a tenth, at most once per call's duration.
2. Waits within the target while the bound was in the way: it grows by a quarter of a batch.
3. Otherwise it stays: an idle service learns nothing.

So a Triton that slows lowers what is admitted (calls last longer, fewer leave, waits grow past the target), and one
that recovers raises it again. Low priorities are refused first, but each tier keeps a part of its fair share.

Source:
    Chiu and Jain 1989, Analysis of the Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks
    (AIMD); Nichols and Jacobson 2012, Controlling Queue Delay, ACM Queue 10(5) (the time spent in the queue as signal).
"""

from __future__ import annotations

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

TIER_NAMES_LIMIT = 256
"""Tiers whose admitted items are counted apart."""


@dataclass(slots=True)
class Admission:
    """The bound of one model version."""

    min_items: int
    """The bound never goes below this: what the calls under way hold, or they would idle."""

    max_items: int
    """The bound never goes above this: memory."""

    batch_items: int
    """Items of a full call; the bound grows by a part of it."""

    limit: float = 0.0
    """The present bound on admitted items."""

    admitted: int = 0
    """Items taken in and not yet answered."""

    call_duration_s: float | None = None
    """A typical call's duration, smoothed; None before the first."""

    admitted_small: int = 0
    """Those of them that came in small requests."""

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

    def check(self, items: int, share: Share) -> None:
        """
        Refuse items for which there is no room.

        A request may overshoot the bound by its own size, once: otherwise large requests could never enter.

        Args:
            items: How many.

            share: The caller's tier.

        Raises:
            Overloaded: If the model has as much work as it can do in good time.
        """
        if len(self.weights) < TIER_NAMES_LIMIT or share.tier in self.weights:
            self.weights[share.tier] = share.effective_weight
        open_to_it = self.limit * max(GUARANTEED, 1 - PRIORITY_RESERVE * (max(share.priority, 1) - 1))
        is_small = items <= TURN_ITEMS
        if self._inside(is_small) >= open_to_it and self.by_tier[share.tier] >= self._guaranteed(share):
            self.was_in_the_way = True
            raise Overloaded(
                "The model has as much work as it can do in good time.", retry_after_s=self._wait_s()
            )

    def enter(self, items: int, share: Share) -> None:
        """
        Take items in, or refuse them at once.

        Args:
            items: How many.

            share: The caller's tier.

        Raises:
            Overloaded: As `check` does.
        """
        self.check(items, share)
        is_small = items <= TURN_ITEMS
        self.admitted += items
        self.admitted_small += items if is_small else 0
        self.by_tier[share.tier] += items
        if self._inside(is_small) >= 0.9 * self.limit:
            self.was_in_the_way = True

    def leave(self, items: int, share: Share) -> None:
        """Give back what `enter` took, whatever became of it."""
        self.admitted -= items
        self.admitted_small -= items if items <= TURN_ITEMS else 0
        self.by_tier[share.tier] -= items
        if self.by_tier[share.tier] <= 0:
            del self.by_tier[share.tier]

    def learn(self, *, waited_s: float, call_s: float, now: float) -> None:
        """
        Adapt the bound after a call.

        Args:
            waited_s: The longest time that one of its items stood in the queue, in seconds.

            call_s: How long the call took, in seconds.

            now: On the caller's clock, in seconds.
        """
        before = self.call_duration_s
        self.call_duration_s = call_s if before is None else before + SMOOTHING * (call_s - before)
        target_s = max(WAIT_FLOOR_S, CALLS_WAITED * self.call_duration_s)
        if waited_s > target_s:
            if now - self.shrunk_at >= self.call_duration_s:
                self.limit = max(float(self.min_items), self.limit * DECREASE)
                self.shrunk_at = now
        elif self.was_in_the_way:
            self.limit = min(float(self.max_items), self.limit + GROWTH * self.batch_items)
        self.was_in_the_way = False

    def _inside(self, is_small: bool) -> int:  # noqa: FBT001
        return self.admitted_small if is_small else self.admitted

    def _guaranteed(self, share: Share) -> float:
        present = self.by_tier.keys() | {share.tier}
        total = sum(self.weights.get(tier, 0.0) for tier in present) or 1.0
        return GUARANTEED * self.limit * self.weights.get(share.tier, 0.0) / total

    def _wait_s(self) -> float:
        """When it may be worth coming back: after a few calls, at least a quarter of a second."""
        return max(0.25, 4 * (self.call_duration_s or 0.0))
