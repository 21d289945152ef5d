"""
How long to wait for one endpoint before another one is asked too; pure, with the clock passed in.

Nothing is given up by asking another one: the first attempt goes on, and whichever answers first has answered. So a
wait that was too short costs a second attempt out of the budget, and never an answer.

Source:
    Dean and Barroso 2013, The Tail at Scale, Communications of the ACM 56(2): a second copy "after the 95th-percentile
    expected latency" makes about 5 % more load.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FACTOR = 4.0
"""An endpoint is suspect after so many times the 99th percentile of the model's calls: a longer batch is no sign."""

FLOOR_S = 0.25
"""It is never suspect before, in seconds: a pause of the machine's is no sign either."""

UNKNOWN_S = 1.0
"""It is suspect after so many seconds while nothing is known of the model."""

WINDOW_S = 60.0
"""Calls of so many seconds are remembered."""

WINDOW_CALLS = 512
"""And so many of them at the most: above the 99th percentile are five."""

FEWEST_CALLS = 20
"""So many have to be known: of fewer, no 95th percentile can be told."""

REFRESH_CALLS = 16
"""After so many calls the percentiles are taken anew."""


class Latencies:
    """
    How long the calls of one model take.

    Args:
        clock: Gives the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._calls: deque[tuple[float, float]] = deque(maxlen=WINDOW_CALLS)
        self._unseen = 0
        self.p95_s: float | None = None
        """95th percentile in seconds; None while too little is known."""
        self.p99_s: float | None = None
        """99th percentile in seconds; None while too little is known."""

    def observe(self, seconds: float) -> None:
        """A call was answered after so many seconds."""
        self._calls.append((self._clock(), seconds))
        self._unseen += 1
        if len(self._calls) >= FEWEST_CALLS and (self._unseen >= REFRESH_CALLS or self.p95_s is None):
            self._take_percentiles()

    def _take_percentiles(self) -> None:
        self._unseen = 0
        oldest = self._clock() - WINDOW_S
        while len(self._calls) > FEWEST_CALLS and self._calls[0][0] < oldest:
            self._calls.popleft()
        ordered = sorted(seconds for _, seconds in self._calls)
        self.p95_s = percentile(ordered, 0.95)
        self.p99_s = percentile(ordered, 0.99)


def percentile(ordered: list[float], share: float) -> float:
    """
    Find the smallest value that so large a share is no larger than.

    Args:
        ordered: At least one value, ascending.

        share: From 0 to 1.

    Returns:
        One of the values ("nearest rank").
    """
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def suspect_after_s(latencies: Latencies) -> float:
    """
    Say when an endpoint that doesn't answer is suspect.

    Args:
        latencies: Of the model that is called.

    Returns:
        Seconds since the call began.
    """
    if latencies.p99_s is None:
        return UNKNOWN_S
    return max(FACTOR * latencies.p99_s, FLOOR_S)


def second_after_s(latencies: Latencies, remaining_s: float) -> float:
    """
    Say when to ask another endpoint.

    Args:
        latencies: Of the model that is called.

        remaining_s: Seconds until the call is given up.

    Returns:
        Seconds: when the endpoint is suspect, but while half of the time is left for the other one. Not before the
        95th percentile, or callers in a hurry would use up the budget of those whose endpoint is dead.
    """
    return max(min(suspect_after_s(latencies), remaining_s / 2), latencies.p95_s or 0.0)
