"""
What is counted for each request, in plain numbers; prometheus_client is told when somebody looks.

A child of prometheus_client takes a lock for each number it changes, of which a histogram has two, and with several
workers each is a write into a mapped file. Tallies take a third of a microsecond instead of two to three.

Rules that a later editor must keep:

1. Tallies grow in one thread, the loop's, and are never set back: whoever hands on reads totals and remembers what it
   handed on before. So two threads, the loop and a scrape, see each count once.
2. `hand_on` is called under a lock by whoever owns the tallies (`telemetry.Metrics`).
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prometheus_client import Counter, Gauge, Histogram


class CounterTally:
    """
    One series of a counter.

    Args:
        child: Where it is exported.
    """

    __slots__ = ("_child", "_handed_on", "_total")

    def __init__(self, child: Counter) -> None:
        self._child = child
        self._total = 0.0
        self._handed_on = 0.0

    def inc(self, amount: float = 1.0) -> None:
        """Count."""
        self._total += amount

    def hand_on(self) -> None:
        """Tell prometheus_client what is new."""
        total = self._total
        if total != self._handed_on:
            self._child.inc(total - self._handed_on)
            self._handed_on = total


class HistogramTally:
    """
    One series of a histogram.

    Args:
        child: Where it is exported.

        edges: Its buckets' upper edges, ascending, without infinity.
    """

    __slots__ = ("_child", "_counts", "_edges", "_handed_on", "_sum", "_sum_handed_on")

    def __init__(self, child: Histogram, edges: Sequence[float]) -> None:
        self._child = child
        self._edges = tuple(edges)
        self._counts = [0] * (len(self._edges) + 1)
        self._sum = 0.0
        self._handed_on = list(self._counts)
        self._sum_handed_on = 0.0

    def observe(self, value: float) -> None:
        """Count one value: in the first bucket whose edge isn't below it."""
        self._counts[bisect_left(self._edges, value)] += 1
        self._sum += value

    def hand_on(self) -> None:
        """Tell prometheus_client what is new."""
        counts, total = list(self._counts), self._sum
        if counts == self._handed_on:
            return
        # It has no other way in for many values at once; `observe` does the same for one.
        for bucket, count, before in zip(self._child._buckets, counts, self._handed_on, strict=True):  # noqa: SLF001
            if count != before:
                bucket.inc(count - before)
        self._child._sum.inc(total - self._sum_handed_on)  # noqa: SLF001
        self._handed_on, self._sum_handed_on = counts, total


class LevelTally:
    """
    One series of a gauge that goes up and down by one.

    Args:
        child: Where it is exported.
    """

    __slots__ = ("_child", "_level")

    def __init__(self, child: Gauge) -> None:
        self._child = child
        self._level = 0

    def inc(self) -> None:
        """Go up."""
        self._level += 1

    def dec(self) -> None:
        """Go down."""
        self._level -= 1

    def hand_on(self) -> None:
        """Tell prometheus_client where it is."""
        self._child.set(self._level)
