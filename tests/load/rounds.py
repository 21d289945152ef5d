"""
Contenders in turn, round after round, and what is made of their figures.

A B C A B C … instead of A A B B C C, because a shared machine drifts: within one round all see nearly the same
machine, so ratios are taken within rounds, and the median of these ratios is reported. Rounds that others disturbed
are repeated a few times; of all rounds the calmest count, chosen by what others used and never by the outcome.
"""

from __future__ import annotations

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
        rounds: Those that count.

        above: The contender that is divided.

        below: The one that it is divided by.

        figure: What is compared.

    Returns:
        Median and bounds of the rounds' ratios.
    """
    return spread_of([one[above][figure] / one[below][figure] for one in rounds])


def disturbance(one: Round) -> float:
    """
    Tell how much others disturbed a round.

    Args:
        one: The round.

    Returns:
        Share of all cores that others used, in the worst of its measurements.
    """
    return max((figures["others_share"] for figures in one.values()), default=0.0)


def choose_calmest(rounds: Sequence[Round], wanted: int) -> list[Round]:
    """
    Choose the rounds that count.

    Args:
        rounds: All of them.

        wanted: How many count.

    Returns:
        Those that others disturbed least, in their order.
    """
    order = sorted(range(len(rounds)), key=lambda index: disturbance(rounds[index]))
    return [rounds[index] for index in sorted(order[:wanted])]


def interleave(
    names: Sequence[str],
    run_one: Callable[[str, int], Figures],
    *,
    wanted: int,
    extra: int,
    say: Callable[[str], None],
) -> list[Round]:
    """
    Measure contenders in turn until enough rounds were calm, or no more may be tried.

    Args:
        names: The contenders.

        run_one: Measures one of them in the round of that number.

        wanted: Rounds that count.

        extra: Rounds that may be tried beyond these.

        say: Takes a line of progress.

    Returns:
        All rounds.
    """
    rounds: list[Round] = []
    while len(rounds) < wanted + extra:
        number = len(rounds) + 1
        # Every other round backwards, so that nobody always follows the same neighbour.
        order = names if number % 2 else list(reversed(names))
        one: Round = {}
        for name in order:
            one[name] = run_one(name, number)
            say(f"  round {number}, {name}: {describe_figures(one[name])}")
        rounds.append(one)
        calm = sum(disturbance(earlier) < CALM_SHARE for earlier in rounds)
        if calm >= wanted:
            break
        if number >= wanted:
            say(f"  {number - calm} of {number} rounds were disturbed by other programs")
    return rounds


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
    return (
        f"{figures['texts_per_s']:.0f} texts/s, p50 {figures['p50_ms']:.0f} ms, p99 {figures['p99_ms']:.0f} ms"
        + (f", batches: {batches}" if batches else "")
        + f", others {figures['others_share']:.0%}"
    )
