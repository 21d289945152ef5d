"""The retry budget: never more than a fifth of the calls, a reserve, and a trickle."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facade.triton.budget import CAPACITY, MINIMUM_PER_S, RATIO, RESERVE, RetryBudget
from tests.facade.triton.clock import Clock

STEPS = st.lists(
    st.one_of(st.just("call"), st.just("retry"), st.floats(min_value=0, max_value=5)), max_size=400
)


@given(STEPS)
def test_the_budget_is_never_exceeded(steps: list[str | float]) -> None:
    """Whatever comes in whatever order, further attempts stay below a fifth of the calls, reserve and trickle."""
    clock = Clock()
    budget = RetryBudget(clock)
    calls = granted = 0
    for step in steps:
        if step == "call":
            budget.note_call()
            calls += 1
        elif step == "retry":
            granted += budget.take()
        else:
            clock.now += float(step)
        assert granted <= RESERVE + RATIO * calls + MINIMUM_PER_S * clock.now + 1e-6


@given(st.integers(min_value=0, max_value=2000))
def test_a_quiet_hour_is_not_saved_up(calls: int) -> None:
    """After any number of good calls and any time, a burst gets what the bucket holds and no more."""
    clock = Clock()
    budget = RetryBudget(clock)
    for _ in range(calls):
        budget.note_call()
    clock.now += 3600

    granted = sum(budget.take() for _ in range(1000))

    expected = min(RESERVE + RATIO * calls, CAPACITY)
    assert expected - 1.001 < granted < expected + 0.001


def test_a_service_with_few_calls_can_retry_again_soon() -> None:
    """The trickle gives one attempt a second even without calls."""
    clock = Clock()
    budget = RetryBudget(clock)
    while budget.take():
        pass
    clock.now += 1 / MINIMUM_PER_S

    assert budget.take()
    assert not budget.take()
