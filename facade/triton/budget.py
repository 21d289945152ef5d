"""
How many second attempts may be made, so that an outage never makes more work than a fifth of the load; pure.

A token bucket: each call puts a fifth of a token in, each further attempt takes a whole one out. Without it, every
call that fails would be tried again while the endpoints are slow because they have too much to do already.

Source:
    Finagle's RetryBudget (https://finagle.github.io/blog/2016/02/08/retry-budgets): 20 % of the calls and a minimum a
    second, remembered for 10 s. Google, Site Reliability Engineering, chapter 22: a budget for each client's retries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

RATIO = 0.2
"""Further attempts a call, in the long run."""

MINIMUM_PER_S = 1.0
"""Further attempts a second that are possible with hardly any calls; Finagle's 10 are for busier clients."""

RESERVE = 10.0
"""What the minimum fills up to, and what a new process begins with."""

CAPACITY = 100.0
"""
What calls fill up to: ten seconds' worth at 50 calls a second. An endpoint that dies takes all calls with it that were
waiting there; so many can move on at once.
"""


class RetryBudget:
    """
    The bucket of one process.

    Args:
        clock: Gives the time, in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._tokens = RESERVE
        self._filled_at = clock()

    def note_call(self) -> None:
        """A call begins."""
        self._tokens = min(self._tokens + RATIO, CAPACITY)

    def take(self) -> bool:
        """
        Ask for one more attempt.

        Returns:
            Whether it may be made.
        """
        now = self._clock()
        if self._tokens < RESERVE:
            trickle = MINIMUM_PER_S * (now - self._filled_at)
            self._tokens = min(self._tokens + trickle, RESERVE)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True
