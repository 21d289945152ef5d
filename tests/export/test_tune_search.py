"""The search on simulated machines: it finds what is good, and never takes what is worse."""

import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.tune_search import (
    Candidate,
    Fight,
    Measured,
    Measurement,
    Space,
    best,
    fight,
    search,
    worth,
)

SPACE = Space(
    {
        "instances": (1, 2, 3, 4),
        "threads": (1, 2, 4),
        "rows": (1, 2, 4, 8, 16, 32, 64),
        "delay_us": (0, 500, 5000),
    },
    is_possible=lambda one: one["instances"] * one["threads"] <= 4,
)
POOR = {"instances": 1, "threads": 1, "rows": 1, "delay_us": 5000}
GOOD = {"instances": 2, "threads": 2, "rows": 16, "delay_us": 0}


def machine(noise: float, seed: int = 0) -> Callable[..., Measurement]:
    """Simulate a server: cores help until there are no more, rows until latency suffers, delay never."""
    chooser = random.Random(seed)

    def measure(candidate: Candidate, rung: int = 3) -> Measurement:
        cores = min(candidate["instances"] * candidate["threads"], 4)
        gain = candidate["rows"] ** 0.5
        spread = noise / (rung + 1)
        items = 100 * cores * gain * chooser.uniform(1 - spread, 1 + spread)
        p99 = 4 + candidate["rows"] * 1.5 + candidate["delay_us"] / 1000
        return Measurement(items, p99 * chooser.uniform(1 - spread / 4, 1 + spread / 4))

    return measure


@pytest.mark.parametrize("noise", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(8))
def test_a_poor_start_is_left_far_behind(noise: float, seed: int) -> None:
    """Whatever the first sample, the winner meets the target and does several times as much."""
    measure = machine(noise, seed)

    found = search(SPACE, POOR, measure, p99_ms=50, first_candidates=18, seed=seed)
    winner = best(found, 50).candidate
    outcome = fight(winner, POOR, measure, p99_ms=50)

    assert outcome.is_won
    assert machine(0)(winner).p99_ms <= 50
    assert machine(0)(winner).items_per_s >= 4 * machine(0)(POOR).items_per_s


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), noise=st.floats(0, 0.3))
def test_a_good_start_is_never_made_clearly_worse(seed: int, noise: float) -> None:
    """Noise may let a slightly worse one through once in a while, never one that is worse by more than the noise."""
    measure = machine(noise, seed)

    found = search(SPACE, GOOD, measure, p99_ms=50, first_candidates=12, seed=seed)
    winner = best(found, 50).candidate
    outcome = fight(winner, GOOD, measure, p99_ms=50)

    if outcome.is_won and winner != GOOD:
        true_ratio = machine(0)(winner).items_per_s / machine(0)(GOOD).items_per_s
        assert true_ratio > 1 - noise / 4
        assert machine(0)(winner).p99_ms <= 50 * (1 + noise / 4)


def test_each_rung_is_smaller_and_longer() -> None:
    """The search ends, and the present settings are measured in it."""
    found = search(SPACE, POOR, machine(0.1), p99_ms=50, first_candidates=27)

    sizes = [sum(one.rung == rung for one in found) for rung in range(max(one.rung for one in found) + 1)]
    assert sizes[0] == 27
    assert sizes == sorted(sizes, reverse=True)
    assert found[0].candidate == POOR
    assert all(SPACE.is_possible(one.candidate) for one in found)


def test_what_experience_suggests_comes_first() -> None:
    """So that the shortest search has something good to compare."""
    found = search(SPACE, POOR, machine(0), p99_ms=50, first_candidates=9, suggested=[GOOD])

    assert [one.candidate for one in found[:2]] == [POOR, GOOD]


def test_the_search_ends_when_its_time_is_over() -> None:
    """What was measured by then counts."""
    left = iter([True] * 5)

    found = search(
        SPACE, POOR, machine(0), p99_ms=50, first_candidates=27, may_go_on=lambda: next(left, False)
    )

    assert len(found) == 5
    assert best(found, 50).rung == 0


def test_the_best_of_those_that_came_furthest_wins() -> None:
    """A lucky short measurement doesn't beat a longer one."""
    lucky = Measured({"a": 1}, 0, Measurement(900, 10))
    solid = Measured({"a": 2}, 1, Measurement(500, 10))

    assert best([lucky, solid], 50) is solid


def test_what_misses_the_target_is_worth_less_than_anything_that_meets_it() -> None:
    """The nearer the better, so that the search knows where to go."""
    slow, slower, tiny = Measurement(9000, 60), Measurement(9000, 600), Measurement(0.5, 50)

    assert worth(slower, 50) < worth(slow, 50) < worth(tiny, 50)


@pytest.mark.parametrize(
    ("ratios", "is_won"),
    [
        ((1.3, 1.2, 1.4), True),
        ((1.3, 0.99, 1.4), False),
        ((1.01, 1.02, 1.04), False),
        ((1.0, 2.0, 2.0), False),
    ],
)
def test_a_fight_is_won_in_every_round_or_not_at_all(ratios: tuple[float, ...], *, is_won: bool) -> None:
    """And by enough to be worth a new version."""
    assert Fight(ratios, (), ()).is_won is is_won


def test_a_fight_takes_turns() -> None:
    """Neither always follows the other."""
    order = []

    def measure(candidate: Candidate) -> Measurement:
        order.append(candidate["a"])
        return Measurement(100.0 * candidate["a"], 10)

    outcome = fight({"a": 2}, {"a": 1}, measure, p99_ms=50, rounds=4)

    assert order == [1, 2, 2, 1, 1, 2, 2, 1]
    assert outcome.ratios == (2.0,) * 4


def test_neighbours_are_one_step_away() -> None:
    """Also of settings that are none of the choices."""
    odd = {"instances": 2, "threads": 3, "rows": 64, "delay_us": 0}
    space = Space({"threads": (1, 2, 4), "rows": (32, 64)})

    assert list(space.neighbours(odd)) == [
        {**odd, "threads": 2},
        {**odd, "threads": 4},
        {**odd, "rows": 32},
    ]


def test_a_space_without_possible_combinations_leaves_the_present_alone() -> None:
    """Nothing is made up."""
    space = Space({"a": (1, 2)}, is_possible=lambda _: False)

    found = search(space, {"a": 1}, lambda *_: Measurement(1, 1), p99_ms=5, first_candidates=9)

    assert [one.candidate for one in found] == [{"a": 1}]
    assert space.sample(random.Random(0)) is None
