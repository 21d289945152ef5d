"""
Contenders in turn, round after round, and what is made of their figures.

A B C A B C … instead of A A B B C C, because a shared machine drifts: within one round all see nearly the same
machine, so ratios are taken within rounds, and the median of these ratios is reported. Measurements that others
disturbed are repeated a few times; the calmest counts, chosen by what others used and never by the outcome.
"""

from __future__ import annotations

import operator
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.load.machine import CALM_SHARE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Figures = dict[str, Any]
"""One measurement, see `measure.measure`."""

Round = dict[str, Figures]
"""One round: measurements by contender."""


@dataclass(frozen=True)
class Spread:
    """Several values of one figure."""

    median: float
    """The middle one."""

    least: float
    """The smallest."""

    most: float
    """The largest."""


def percentile(ascending: Sequence[float], share: float) -> float:
    """
    Find the value that a share of all values doesn't exceed.

    Args:
        ascending: Values, sorted, at least one.

        share: Between 0 and 1.

    Returns:
        One of the values: nearest rank.
    """
    rank = -int(-share * len(ascending) // 1)  # rounded up
    return ascending[min(max(rank, 1), len(ascending)) - 1]


def spread_of(values: Sequence[float]) -> Spread:
    """
    Summarise values.

    Args:
        values: At least one.

    Returns:
        Their median and bounds.
    """
    return Spread(statistics.median(values), min(values), max(values))


def ratio_of(rounds: Sequence[Round], above: str, below: str, figure: str = "texts_per_s") -> Spread:
    """
    Compare two contenders round by round.

    Args:
        rounds: What was measured.

        above: The contender that is divided.

        below: The one that it is divided by.

        figure: What is compared.

    Returns:
        Median and bounds of the rounds' ratios.
    """
    return spread_of([one[above][figure] / one[below][figure] for one in rounds])


def interleave(
    names: Sequence[str],
    run_one: Callable[[str, int, int], Figures],
    *,
    rounds: int,
    repetitions: int,
    say: Callable[[str], None],
) -> list[Round]:
    """
    Measure contenders in turn.

    Args:
        names: The contenders.

        run_one: Measures one of them, in the round and the attempt of those numbers.

        rounds: How many.

        repetitions: Disturbed measurements that may be repeated, over all rounds.

        say: Takes a line of progress.

    Returns:
        The rounds. Of the attempts at a measurement the calmest counts, whatever it found; the others are its
        `discarded`.
    """
    found: list[Round] = []
    for number in range(1, rounds + 1):
        one: Round = {}
        # Every other round backwards, so that nobody always follows the same neighbour.
        for name in names if number % 2 else list(reversed(names)):
            attempts = [run_one(name, number, 1)]
            while attempts[-1]["others_share"] >= CALM_SHARE and repetitions > 0:
                repetitions -= 1
                say(f"  disturbed, to be repeated: {describe_figures(attempts[-1])}")
                attempts.append(run_one(name, number, len(attempts) + 1))
            calmest = min(attempts, key=operator.itemgetter("others_share"))
            one[name] = {**calmest, "discarded": [attempt for attempt in attempts if attempt is not calmest]}
            say(f"  round {number}, {name}: {describe_figures(calmest)}")
        found.append(one)
    return found


def describe_figures(figures: Figures) -> str:
    """
    Say the most important of one measurement in a line.

    Args:
        figures: The measurement.

    Returns:
        The line.
    """
    batches = ", ".join(
        f"{name} {figures[f'{name}_batch']:.1f}" for name in ("door", "core") if f"{name}_batch" in figures
    )
    latency = (
        f", p50 {figures['p50_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms" if "p50_ms" in figures else ""
    )
    return (
        f"{figures['texts_per_s']:.0f} texts/s{latency}"
        + (f", batches: {batches}" if batches else "")
        + f", others {figures['others_share']:.0%}"
    )
