"""The breaker opens on failures, probes by itself, and can't be fooled by late results."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facade.cache.breaker import Breaker, BreakerPolicy, BreakerState
from tests.facade.cache.recorder import Clock

POLICY = BreakerPolicy(failures=3, sample=10, window_s=10, open_s=1, open_limit_s=4)


def call(breaker: Breaker, *, succeeded: bool) -> bool:
    """Make a call that ends at once; returns whether it was admitted."""
    ticket = breaker.admit()
    if ticket is not None:
        breaker.settle(ticket, succeeded=succeeded)
    return ticket is not None


def opened(clock: Clock) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(POLICY, clock=clock)
    for _ in range(3):
        call(breaker, succeeded=False)
    assert breaker.state is BreakerState.OPEN
    return breaker


def test_failures_open_and_a_probe_closes() -> None:
    """The way round: closed, open, half-open, closed, each change told once."""
    clock = Clock()
    told: list[BreakerState] = []
    breaker = Breaker(POLICY, clock=clock, on_change=told.append)
    for _ in range(3):
        assert call(breaker, succeeded=False)
    assert not call(breaker, succeeded=True)
    clock.now += 1
    assert call(breaker, succeeded=True)
    assert call(breaker, succeeded=True)
    assert told == [BreakerState.OPEN, BreakerState.HALF_OPEN, BreakerState.CLOSED]


def test_failures_among_many_successes_do_not_open() -> None:
    """A third of calls failing for ever is worth asking the other two thirds."""
    breaker = Breaker(POLICY, clock=Clock())
    for number in range(300):
        assert call(breaker, succeeded=number % 3 > 0)


def test_an_outage_after_long_health_opens_within_half_a_sample() -> None:
    """Old successes don't hold an outage off for long."""
    breaker = Breaker(POLICY, clock=Clock())
    for _ in range(1000):
        call(breaker, succeeded=True)
    failures = 0
    while call(breaker, succeeded=False):
        failures += 1
    assert failures == 5


def test_failures_far_apart_do_not_open() -> None:
    """A result out of the window is forgotten."""
    clock = Clock()
    breaker = Breaker(POLICY, clock=clock)
    for _ in range(20):
        assert call(breaker, succeeded=False)
        clock.now += 6


def test_one_probe_at_a_time() -> None:
    """While a probe is out nobody else may call, unless it got lost."""
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1
    assert breaker.admit() is not None
    assert breaker.admit() is None
    clock.now += 1
    assert breaker.admit() is not None


def test_failed_probes_come_less_often_up_to_the_bound() -> None:
    """The pause doubles: 1, 2, 4, 4 seconds."""
    clock = Clock()
    breaker = opened(clock)
    pauses = []
    for _ in range(4):
        began = clock.now
        while not call(breaker, succeeded=False):
            clock.now += 0.5
        pauses.append(clock.now - began)
    assert pauses == [1, 2, 4, 4]


def test_a_result_from_before_the_outage_settles_nothing() -> None:
    """Calls that began while it was closed neither close it later nor fail its probe."""
    clock = Clock()
    breaker = Breaker(POLICY, clock=clock)
    old = breaker.admit()
    assert old is not None
    for _ in range(3):
        call(breaker, succeeded=False)
    breaker.settle(old, succeeded=True)
    assert breaker.state is BreakerState.OPEN
    clock.now += 1
    probe = breaker.admit()
    breaker.settle(old, succeeded=False)
    assert breaker.state is BreakerState.HALF_OPEN
    assert probe is not None
    breaker.settle(probe, succeeded=True)
    assert breaker.state is BreakerState.CLOSED


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=80))
def test_a_recovery_is_noticed_whatever_came_before(history: list[tuple[bool, float]]) -> None:
    """Once calls succeed again, the longest pause is enough to be closed and stay so."""
    clock = Clock()
    breaker = Breaker(POLICY, clock=clock)
    for succeeded, seconds in history:
        call(breaker, succeeded=succeeded)
        clock.now += seconds
    clock.now += POLICY.open_limit_s
    for _ in range(3):
        assert call(breaker, succeeded=True)
    assert breaker.state is BreakerState.CLOSED
