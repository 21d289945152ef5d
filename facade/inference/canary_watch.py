"""
Is a canary clearly worse than stable? A sequential test with a stated false-alarm rate; no clock, no state outside.

What is compared are calls to Triton, not requests: the items of one merged call share its fate, and counting each
would take one event for many. Calls of both versions are compared in pairs: whenever each has had at least one since
the last comparison, the share of bad calls among the canary's minus that among stable's is one observation D in
[-1, 1]. As both are of the same moment, whatever slows down or breaks the whole server hits both and cancels out.

Hypothesis: the mean of D, given all that came before, is at most a margin m. Against it we bet: a capital that starts
at 1 is multiplied by 1 + b (D - m) at each observation, with 0 < b < 1 / (1 + m). Under the hypothesis the capital is
a non-negative supermartingale, so the chance that it ever reaches 1/a is at most a (Ville's inequality), however long
and however often one looks. Not knowing the best bet b, we spread the capital over a few and never move it.

There are two tests: on calls that fail, and on calls slower than stable's own 99th percentile times `SLOWER`. The
second compares calls of about the same size only, as a version with more callers gets larger batches. The threshold
need not be exact: it is the same for both versions, and taken from calls that came before.

Source:
    Waudby-Smith and Ramdas 2024, Estimating means of bounded random variables by betting, JRSS B 86(1), sections 3-4
    (arXiv:2010.09686). Ville 1939, Étude critique de la notion de collectif.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

FALSE_ALARM_RATE = 0.001
"""
The chance that a canary no worse than stable is ever dropped, both tests together, for one release and one façade
process: at a thousand releases with four processes each, about four are dropped for nothing, at most.

It doesn't hold for a model that refuses inputs at random: what only the canary refuses counts against it
(`release_split`), and what stable refuses is taken for the caller's fault.
"""

ERROR_MARGIN = 0.01
"""A canary may fail one call in a hundred more than stable: less is not "clearly worse"."""

SLOW_MARGIN = 0.03
"""The share of slow calls may be three percentage points more, where stable's own is about one."""

SLOWER = 1.25
"""A call is slow from so many times stable's 99th percentile: less than a quarter more is not "clearly slower"."""

BETS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""From patient to bold: the first finds a small difference after thousands of calls, the last a wreck after fifteen."""

RECENT_CALLS = 512
"""Of so many of stable's last calls of a size the percentile is taken; five of them are above it."""

FEWEST_CALLS = 32
"""So many calls of a size stable must have had before slowness is judged."""

REFRESH_CALLS = 32
"""After so many calls the percentile is taken anew."""

FAILED_FACTOR, FAILED_FLOOR_S = 5.0, 1.0
"""A call that is not answered within so many times stable's 99th percentile, and not in that time, has failed."""


class BettingTest:
    """
    Tests whether the mean of a sequence is more than a margin.

    Args:
        margin: The largest mean that is fine.

        alpha: The chance of a false alarm, over any length.
    """

    def __init__(self, margin: float, alpha: float) -> None:
        self._margin = margin
        self._threshold = math.log(len(BETS) / alpha)
        self._capitals = [0.0] * len(BETS)
        self.is_decided = False

    def observe(self, difference: float) -> None:
        """
        Bet on one observation.

        Args:
            difference: From -1 to 1.
        """
        gain = difference - self._margin
        self._capitals = [
            capital + math.log1p(bet * gain) for capital, bet in zip(self._capitals, BETS, strict=True)
        ]
        # The log of the bets' capitals together: the largest one's, and what the others add to it.
        largest = max(self._capitals)
        total = largest + math.log(sum(math.exp(capital - largest) for capital in self._capitals))
        self.is_decided = self.is_decided or total >= self._threshold


@dataclass(slots=True)
class _Pair:
    """What both versions did since the last comparison: calls, and bad ones among them."""

    stable: list[int] = field(default_factory=lambda: [0, 0])
    canary: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, *, is_canary: bool, is_bad: bool) -> float | None:
        """Count a call; the difference once there is one."""
        counts = self.canary if is_canary else self.stable
        counts[0] += 1
        counts[1] += is_bad
        if not self.canary[0] or not self.stable[0]:
            return None
        difference = self.canary[1] / self.canary[0] - self.stable[1] / self.stable[0]
        self.stable, self.canary = [0, 0], [0, 0]
        return difference


class _Usual:
    """How long stable's calls of one size take."""

    def __init__(self) -> None:
        self.pair = _Pair()
        self.p99_s = math.inf
        self._recent: deque[float] = deque(maxlen=RECENT_CALLS)
        self._count = 0

    def learn(self, seconds: float) -> None:
        """Take note of one of stable's calls."""
        self._recent.append(seconds)
        self._count += 1
        if self._count >= FEWEST_CALLS and self._count % REFRESH_CALLS == 0:
            ordered = sorted(self._recent)
            self.p99_s = ordered[math.ceil(0.99 * len(ordered)) - 1]


class CanaryTest:
    """
    Both tests of one canary against one stable version.

    Args:
        alpha: The chance that it is found worse though it isn't, over any length.
    """

    def __init__(self, alpha: float = FALSE_ALARM_RATE) -> None:
        self._errors = BettingTest(ERROR_MARGIN, alpha / 2)
        self._slowness = BettingTest(SLOW_MARGIN, alpha / 2)
        self._pair = _Pair()
        self._usual: dict[int, _Usual] = {}

    @property
    def finding(self) -> str | None:
        """What is clearly worse: ``errors`` or ``latency``; None while nothing is."""
        if self._errors.is_decided:
            return "errors"
        return "latency" if self._slowness.is_decided else None

    @property
    def failed_after_s(self) -> float:
        """Seconds after which a call that isn't answered counts as failed, whichever version's it is."""
        slowest = max((usual.p99_s for usual in self._usual.values()), default=math.inf)
        return max(FAILED_FACTOR * slowest, FAILED_FLOOR_S)

    def record(self, *, is_canary: bool, ok: bool | None, seconds: float, size: int) -> None:
        """
        Take note of a call.

        Args:
            is_canary: Whose it was.

            ok: False if it failed, and not for what the caller sent; None if it was given up, which only counts
                as a failure if it had taken very long.

            seconds: How long it took.

            size: How large it was, in bytes.
        """
        is_late = seconds > self.failed_after_s
        if ok is None and not is_late:
            return
        is_failed = ok is False or is_late
        difference = self._pair.add(is_canary=is_canary, is_bad=is_failed)
        if difference is not None:
            self._errors.observe(difference)
        if is_failed:
            return
        usual = self._usual.setdefault(size.bit_length(), _Usual())
        if usual.p99_s < math.inf:
            difference = usual.pair.add(is_canary=is_canary, is_bad=seconds > SLOWER * usual.p99_s)
            if difference is not None:
                self._slowness.observe(difference)
        if not is_canary:
            usual.learn(seconds)
