"""
Curves: one figure against what grows, and whether it stays flat. Pure.

A curve bends where a point costs visibly more than the cheapest before it: more than `TOLERANCE` in the median, and
with not one round as cheap as the dearest round there. Falling is no bend: a fixed cost is shared by more then.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tests.load.machine import CALM_SHARE
from tests.load.rounds import Spread, spread_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

TOLERANCE = 1.25
"""Up to so many times the cheapest is flat: two cores that are shared don't repeat themselves more closely."""


SINGLE_TOLERANCE = 2.0
"""The same where there is one round, whose spread isn't known."""


@dataclass(frozen=True)
class Figure:
    """What is drawn against what grows."""

    key: str
    """Its name in a round."""

    label: str
    """Its name for people, with its unit."""

    why: str = ""
    """Why it bends, where somebody looked; the report shows it only if it does bend."""

    decimals: int = 0
    """Digits behind the point."""

    is_cost: bool = True
    """Whether it is a cost a unit, which is to stay flat; otherwise it is shown and not judged."""


@dataclass(frozen=True)
class Point:
    """What was measured at one size."""

    at: float
    """The size."""

    rounds: list[dict[str, float]]
    """Figures of each round."""

    def spread(self, key: str) -> Spread | None:
        """Summarise one figure; None if no round has it."""
        values = pick_values(self.rounds, key)
        return spread_of(values) if values else None


def pick_values(rounds: Sequence[dict[str, float]], key: str) -> list[float]:
    """
    Take one figure out of the rounds that count.

    Args:
        rounds: Figures of each.

        key: The figure's.

    Returns:
        Its values in the rounds that other programs left alone; in all of them where there is no such round. What a
        round found has no say in it.
    """
    having = [one for one in rounds if key in one]
    calm = [one for one in having if one.get("others_share", 0.0) < CALM_SHARE]
    return [one[key] for one in calm or having]


@dataclass(frozen=True)
class Growth:
    """What one suite found."""

    name: str
    """Its name on the command line."""

    title: str
    """What it is about."""

    about: str
    """How it was measured."""

    axis: str
    """What grows."""

    figures: list[Figure]
    """What is drawn."""

    points: list[Point]
    """In ascending order of size."""

    notes: list[str] = field(default_factory=list)
    """Further findings, each a sentence."""


@dataclass(frozen=True)
class Bend:
    """Where a curve leaves the flat."""

    after: float
    """The cheapest size before it."""

    at: float
    """The first size that is dearer."""

    ratio: float
    """How many times as dear the last size is as the cheapest."""


Curve = list[tuple[float, Spread]]
"""A figure's spread at each size."""


def curve_of(growth: Growth, key: str) -> Curve:
    """
    Take one figure's curve out of a suite.

    Args:
        growth: The suite.

        key: The figure's.

    Returns:
        Its points that have it.
    """
    spreads = [(point.at, point.spread(key)) for point in growth.points]
    return [(at, spread) for at, spread in spreads if spread is not None]


def find_bend(curve: Curve) -> Bend | None:
    """
    Find where a cost stops being flat.

    Args:
        curve: In ascending order of size.

    Returns:
        The bend; None if it is flat or falls.
    """
    if not curve:
        return None
    cheapest_at, cheapest = curve[0]
    for at, spread in curve[1:]:
        is_single = spread.least == spread.most or cheapest.least == cheapest.most
        tolerance = SINGLE_TOLERANCE if is_single else TOLERANCE
        if spread.median > tolerance * cheapest.median and spread.least > cheapest.most:
            return Bend(cheapest_at, at, curve[-1][1].median / cheapest.median if cheapest.median else 0.0)
        if spread.median < cheapest.median:
            cheapest_at, cheapest = at, spread
    return None


def judge(curve: Curve) -> Literal["flat", "falls", "bends"]:
    """
    Say in a word what a cost does.

    Args:
        curve: In ascending order of size, at least one point.

    Returns:
        The word.
    """
    if find_bend(curve):
        return "bends"
    first, last = curve[0][1], curve[-1][1]
    return "falls" if last.median * TOLERANCE < first.median else "flat"


def describe(figure: Figure, curve: Curve) -> str:
    """
    Say in a sentence what a cost does, and why if that is known.

    Args:
        figure: Which.

        curve: In ascending order of size, at least one point.

    Returns:
        The sentence.
    """
    first, last = curve[0], curve[-1]
    ends = f"{_number(first[1].median, figure)} at {first[0]:,g}, {_number(last[1].median, figure)} at {last[0]:,g}"
    bend = find_bend(curve)
    if bend is None:
        return f"{figure.label}: {judge(curve)} ({ends})."
    why = figure.why or "Nobody has looked why."
    return (
        f"{figure.label}: bends between {bend.after:,g} and {bend.at:,g}; at the end {bend.ratio:.1f} times the "
        f"cheapest ({ends}). {why}"
    )


def _number(value: float, figure: Figure) -> str:
    return f"{value:,.{figure.decimals}f}"


def measure_points(
    sizes: Sequence[float],
    run_one: Callable[[float, int], dict[str, float]],
    rounds: int,
    say: Callable[[str], None],
    limit_s: float = math.inf,
) -> list[Point]:
    """
    Measure all sizes, round after round, every other round backwards.

    Args:
        sizes: In ascending order.

        run_one: Measures one size in the round of that number, from 1.

        rounds: How many.

        say: Takes a line of progress.

        limit_s: No further round begins that would take longer than this in all, if it took as long as the last.

    Returns:
        One point a size.
    """
    points = [Point(size, []) for size in sizes]
    first_s = began_s = time.monotonic()
    for number in range(1, rounds + 1):
        now_s = time.monotonic()
        if number > 1 and 2 * now_s - began_s - first_s > limit_s:
            say(f"  only {number - 1} round(s): another one would take longer than {limit_s:.0f} s in all")
            break
        began_s = now_s
        for point in points if number % 2 else reversed(points):
            figures = run_one(point.at, number)
            point.rounds.append(figures)
            shown = ", ".join(f"{key} {value:,.4g}" for key, value in list(figures.items())[:12])
            say(f"  round {number}, {point.at:,g}: {shown}")
    return points
