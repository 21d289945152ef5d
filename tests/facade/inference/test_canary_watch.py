"""The sequential test of a canary: how seldom it is wrong, and how soon it is right."""

from __future__ import annotations

import random

import pytest

from facade.inference.canary_watch import FALSE_ALARM_RATE, BettingTest, CanaryTest

RUNS = 40
LOOSE_ALPHA = 0.2
"""A rate that can be checked with few runs; the bound holds for each alpha alike."""


def simulate(
    seed: int,
    calls: int,
    *,
    alpha: float = FALSE_ALARM_RATE,
    canary_share: float = 0.1,
    failing: tuple[float, float] = (0.01, 0.01),
    slowness: tuple[float, float] = (1.0, 1.0),
    has_weather: bool = False,
) -> tuple[int, str] | None:
    """
    Run calls of both versions through a test.

    Returns:
        The canary's calls until it was found worse, and what was; None if it wasn't. Failing shares and slowness are
        (canary's, stable's); with weather every fifth hundred of calls is three times slower and a third of it fails.
    """
    chance = random.Random(seed)
    test = CanaryTest(alpha)
    canary_calls = 0
    for number in range(calls):
        is_canary = chance.random() < canary_share
        canary_calls += is_canary
        is_storm = has_weather and number // 100 % 5 == 4
        share = max(failing[0 if is_canary else 1], 0.3 if is_storm else 0)
        seconds = chance.lognormvariate(-4, 0.5) * slowness[0 if is_canary else 1] * (3 if is_storm else 1)
        test.record(is_canary=is_canary, ok=chance.random() >= share, seconds=seconds, size=100)
        if test.finding is not None:
            return canary_calls, test.finding
    return None


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("has_weather", [False, True])
def test_an_equal_canary_is_not_dropped(share: float, *, has_weather: bool) -> None:
    """Over long runs, whatever the split, and though the server itself is slow and fails now and then."""
    found = [simulate(seed, 3000, canary_share=share, has_weather=has_weather) for seed in range(RUNS // 4)]
    assert found == [None] * (RUNS // 4)


def test_a_little_worse_is_not_clearly_worse() -> None:
    """A canary that is 10 % slower, and fails half a percent more often, is left to its operator."""
    found = [simulate(seed, 5000, slowness=(1.1, 1), failing=(0.015, 0.01)) for seed in range(RUNS // 4)]
    assert found == [None] * (RUNS // 4)


def test_false_alarms_are_no_more_than_stated() -> None:
    """At the very edge of the hypothesis, where the bets are fair, at most alpha of the runs ever sound the alarm."""
    alarms = 0
    for seed in range(400):
        chance = random.Random(seed)
        test = BettingTest(0.01, LOOSE_ALPHA)
        for _ in range(1000):
            test.observe((chance.random() < 0.06) - (chance.random() < 0.05))
        alarms += test.is_decided
    # Three standard deviations of the binomial above what is stated.
    assert alarms <= 400 * LOOSE_ALPHA + 3 * (400 * LOOSE_ALPHA * (1 - LOOSE_ALPHA)) ** 0.5


@pytest.mark.parametrize(
    ("fault", "most_calls"),
    [
        ({"failing": (1.0, 0.0)}, 25),
        ({"failing": (0.5, 0.0)}, 60),
        ({"failing": (0.1, 0.01)}, 600),
        ({"slowness": (10.0, 1.0)}, 40),
    ],
)
def test_a_clear_fault_is_found_soon(fault: dict[str, tuple[float, float]], most_calls: int) -> None:
    """So many of the canary's calls are enough in every run."""
    arguments: dict[str, tuple[float, float]] = {"failing": (0.0, 0.0), **fault}
    for seed in range(RUNS // 4):
        found = simulate(seed, 20_000, **arguments)  # type: ignore[arg-type]  # only tuples are varied here
        assert found is not None
        calls, what = found
        assert calls <= most_calls
        assert what == ("errors" if "failing" in fault else "latency")


def test_calls_of_other_sizes_are_not_compared() -> None:
    """A canary whose callers send larger batches isn't slower for it."""
    test = CanaryTest()
    for number in range(3000):
        test.record(is_canary=False, ok=True, seconds=0.01 + number % 7 * 1e-4, size=100)
        test.record(is_canary=True, ok=True, seconds=1.0, size=100_000)
    assert test.finding is None


def test_a_call_that_nobody_waited_for_says_nothing() -> None:
    """Callers who leave are no fault, unless the call had lasted far longer than stable's do."""
    test = CanaryTest()
    for _ in range(100):
        test.record(is_canary=False, ok=True, seconds=0.01, size=100)
    for _ in range(1000):
        test.record(is_canary=False, ok=True, seconds=0.01, size=100)
        test.record(is_canary=True, ok=None, seconds=0.5, size=100)
    assert test.finding is None
    assert test.failed_after_s == 1.0
    for _ in range(25):
        test.record(is_canary=False, ok=True, seconds=0.01, size=100)
        test.record(is_canary=True, ok=None, seconds=2.0, size=100)
    assert test.finding == "errors"
