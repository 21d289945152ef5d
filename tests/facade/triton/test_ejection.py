"""The states of an endpoint: when it goes out, for how long, and how it comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.triton.ejection import EJECT_AFTER, FORGET_S, PROBES, TRIALS, Backoff, Ejection, State
from tests.facade.triton.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable


def make(
    backoff: Backoff = PROBES, uniform: Callable[[float, float], float] = lambda _low, high: high
) -> tuple[Ejection, Clock]:
    """Make a state that is up, by default with the longest waits."""
    clock = Clock()
    return Ejection(backoff, clock, uniform), clock


def test_failures_in_a_row_eject_and_others_do_not() -> None:
    """A success between failures starts the count anew."""
    ejection, _ = make()
    for _ in range(EJECT_AFTER - 1):
        assert not ejection.fail()
    ejection.succeed()
    for _ in range(EJECT_AFTER - 1):
        assert not ejection.fail()

    assert ejection.fail()
    assert ejection.state is State.OUT


def test_only_a_probe_brings_it_back_and_only_a_call_makes_it_well() -> None:
    """Out, on trial, up: each step has its own cause."""
    ejection, _ = make()
    ejection.eject()
    ejection.succeed()
    assert ejection.state is State.OUT
    ejection.admit()
    assert ejection.state is State.TRIAL
    ejection.succeed()

    assert ejection.state is State.UP


def test_one_failure_ends_a_trial() -> None:
    """There is no second chance without a probe."""
    ejection, _ = make()
    ejection.eject()
    ejection.admit()

    assert ejection.fail()
    assert ejection.state is State.OUT


def test_waits_double_up_to_the_most() -> None:
    """Each ejection and each failed probe doubles the wait."""
    ejection, clock = make()
    ejection.eject()
    waits = [ejection.wait_s]
    for _ in range(5):
        ejection.postpone()
        waits.append(ejection.wait_s)

    assert waits == [0.5, 1.0, 2.0, 4.0, 4.0, 4.0]
    clock.now += 1.5
    assert ejection.wait_s == pytest.approx(2.5)


def test_flapping_waits_longer_and_a_good_time_is_forgiven() -> None:
    """What goes out again at once waits longer; what was up for long begins anew."""
    ejection, clock = make(TRIALS)
    waits = []
    for up_s in (0.0, 1.0, 1.0, FORGET_S + 1):
        clock.now += up_s
        ejection.eject()
        waits.append(ejection.wait_s)
        ejection.admit()
        ejection.succeed()

    assert waits == [1.0, 2.0, 4.0, 1.0]


def test_who_fails_while_all_are_out_is_asked_last() -> None:
    """A failure while out moves its place in the queue, and not its wait."""
    ejection, clock = make()
    ejection.eject()
    wait_until = clock.now + ejection.wait_s
    clock.now += 0.25

    assert not ejection.fail()
    assert ejection.out_since == clock.now
    assert clock.now + ejection.wait_s == pytest.approx(wait_until)


EVENTS = st.lists(st.sampled_from(["succeed", "fail", "eject", "admit", "postpone", "tick"]), max_size=60)


@given(EVENTS, st.floats(min_value=0, max_value=1))
def test_no_order_of_events_leads_anywhere_else(events: list[str], luck: float) -> None:
    """Up is reached from a trial alone, a trial from out alone, and no wait is longer than the most."""
    ejection, clock = make(uniform=lambda low, high: low + luck * (high - low))
    for event in events:
        before = ejection.state
        if event == "tick":
            clock.now += 1.0
        else:
            getattr(ejection, event)()
        after = ejection.state
        if after is not before:
            assert (before, event, after) in {
                (State.UP, "fail", State.OUT),
                (State.UP, "eject", State.OUT),
                (State.TRIAL, "fail", State.OUT),
                (State.TRIAL, "eject", State.OUT),
                (State.OUT, "admit", State.TRIAL),
                (State.TRIAL, "succeed", State.UP),
            }
        assert ejection.wait_s <= PROBES.most_s
