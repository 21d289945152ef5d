"""How long one endpoint is waited for: percentiles that slide, and what is derived from them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.triton.patience import (
    FACTOR,
    FEWEST_CALLS,
    FLOOR_S,
    REFRESH_CALLS,
    UNKNOWN_S,
    WINDOW_S,
    Latencies,
    percentile,
    second_after_s,
    suspect_after_s,
)
from tests.facade.triton.clock import Clock

SECONDS = st.floats(min_value=1e-4, max_value=100)


@given(st.lists(SECONDS, min_size=1, max_size=200), st.floats(min_value=0.01, max_value=1))
def test_a_percentile_is_the_smallest_value_that_reaches_the_share(values: list[float], share: float) -> None:
    """So many values are no larger, and with the next smaller one too few would be."""
    ordered = sorted(values)
    found = percentile(ordered, share)

    assert sum(value <= found for value in ordered) >= share * len(ordered) - 1e-9
    assert sum(value < found for value in ordered) < math.ceil(share * len(ordered))


def test_too_few_calls_tell_nothing() -> None:
    """Until enough is known there is no percentile, and the patience is a guess."""
    latencies = Latencies(Clock())
    for _ in range(FEWEST_CALLS - 1):
        latencies.observe(0.01)
    assert latencies.p95_s is None
    assert suspect_after_s(latencies) == UNKNOWN_S

    latencies.observe(0.01)
    assert latencies.p95_s == 0.01


def test_a_model_that_slows_down_is_followed() -> None:
    """Old calls leave the window, so that the percentile is that of the last minute."""
    clock = Clock()
    latencies = Latencies(clock)
    for _ in range(100):
        latencies.observe(0.01)
    clock.now += WINDOW_S + 1
    for _ in range(FEWEST_CALLS + REFRESH_CALLS):
        latencies.observe(0.5)

    assert latencies.p95_s == latencies.p99_s == 0.5


@pytest.mark.parametrize(("took_s", "expected_s"), [(0.001, FLOOR_S), (0.5, 0.5 * FACTOR)])
def test_suspicion_follows_the_model(took_s: float, expected_s: float) -> None:
    """Slow models are waited for longer, and none is suspect at once."""
    latencies = Latencies(Clock())
    for _ in range(FEWEST_CALLS):
        latencies.observe(took_s)

    assert suspect_after_s(latencies) == pytest.approx(expected_s)


@given(st.lists(SECONDS, max_size=100), st.floats(min_value=0.001, max_value=600))
def test_half_of_the_time_is_left_for_another_endpoint(seen: list[float], remaining_s: float) -> None:
    """Unless that would be before 95 of 100 calls are answered."""
    latencies = Latencies(Clock())
    for seconds in seen:
        latencies.observe(seconds)

    after_s = second_after_s(latencies, remaining_s)

    assert after_s <= max(remaining_s / 2, latencies.p95_s or 0.0)
    assert after_s >= (latencies.p95_s or 0.0)
