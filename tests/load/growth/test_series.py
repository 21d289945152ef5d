"""Where curves bend: pure, with made-up rounds."""

from __future__ import annotations

import pytest

from tests.load.growth.series import (
    Figure,
    Growth,
    Point,
    curve_of,
    describe,
    find_bend,
    judge,
    measure_points,
)
from tests.load.rounds import Spread

COST = Figure("cost_us", "cost, µs", why="The table is searched from its start.")


def _curve(*medians: float, spread: float = 0.02) -> list[tuple[float, Spread]]:
    return [
        (10.0**place, Spread(median, median * (1 - spread), median * (1 + spread)))
        for place, median in enumerate(medians)
    ]


@pytest.mark.parametrize(
    ("medians", "word"),
    [
        ((100, 101, 99, 104), "flat"),
        ((100, 60, 50, 49), "falls"),
        ((100, 100, 130, 400), "bends"),
        ((100, 40, 41, 80), "bends"),
    ],
)
def test_a_word_for_each_shape(medians: tuple[float, ...], word: str) -> None:
    """Noise is flat, sharing a fixed cost falls, and a rise bends also where it stays below the first point."""
    assert judge(_curve(*medians)) == word


def test_a_rise_within_the_spread_is_no_bend() -> None:
    """A dearer median counts only if not one of its rounds was as cheap as the dearest before."""
    assert find_bend(_curve(100, 140, spread=0.3)) is None
    assert find_bend(_curve(100, 140, spread=0.05)) is not None


def test_one_round_alone_has_to_be_far_off() -> None:
    """Where the spread isn't known, only twice the cost is a bend."""
    assert find_bend(_curve(100, 160, spread=0)) is None
    assert find_bend(_curve(100, 210, spread=0)) is not None


def test_a_bend_is_between_the_cheapest_size_and_the_first_dearer_one() -> None:
    """It says between which sizes to look, and how bad it gets at the end."""
    bend = find_bend(_curve(100, 50, 52, 100, 500))

    assert bend is not None
    assert (bend.after, bend.at, bend.ratio) == (10, 1000, pytest.approx(10))


def test_the_reason_is_told_only_of_what_bends() -> None:
    """A flat curve needs no explanation, and a bend without one says so."""
    assert "searched from its start" in describe(COST, _curve(10, 100))
    assert "searched" not in describe(COST, _curve(10, 10))
    assert "Nobody has looked why" in describe(Figure("x", "x"), _curve(10, 100))


def test_an_empty_curve_has_no_bend() -> None:
    """A figure that no round has can be asked about."""
    assert find_bend([]) is None


def test_disturbed_rounds_count_only_where_there_is_no_calm_one() -> None:
    """What others used decides, and never what was found; a figure of one round counts however that was."""
    calm, disturbed = (
        {"cost_us": 10.0, "others_share": 0.01},
        {"cost_us": 5.0, "once": 1.0, "others_share": 0.5},
    )

    assert Point(1, [disturbed, calm, calm]).spread("cost_us") == Spread(10, 10, 10)
    assert Point(1, [disturbed, disturbed]).spread("cost_us") == Spread(5, 5, 5)
    assert Point(1, [disturbed, calm]).spread("once") == Spread(1, 1, 1)


def test_every_other_round_goes_backwards() -> None:
    """Sizes take turns, so that a machine that drifts doesn't look like growth."""
    order: list[tuple[float, int]] = []

    def run_one(size: float, number: int) -> dict[str, float]:
        order.append((size, number))
        return {"cost_us": size * number} if size == 1 else {}

    points = measure_points([1, 2, 3], run_one, 3, lambda _: None)

    assert order == [(1, 1), (2, 1), (3, 1), (3, 2), (2, 2), (1, 2), (1, 3), (2, 3), (3, 3)]
    growth = Growth("n", "t", "a", "x", [COST], points)
    assert curve_of(growth, "cost_us") == [(1, Spread(2, 1, 3))]
    assert Point(2, [{}]).spread("cost_us") is None


def test_no_round_begins_that_would_take_too_long() -> None:
    """A slow machine gives fewer rounds and not a longer run; the first is always made whole."""
    said: list[str] = []

    points = measure_points([1, 2], lambda _size, _number: {}, 3, said.append, limit_s=0)

    assert [len(point.rounds) for point in points] == [1, 1]
    assert "only 1 round" in said[-1]
