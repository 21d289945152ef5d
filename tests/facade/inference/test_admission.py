"""The bound follows the model: down when waits grow, up when it was in the way, fair to tiers."""

from __future__ import annotations

import heapq
import random
from collections import deque
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.errors import Overloaded
from facade.inference.admission import Admission
from facade.inference.fair_queue import TURN_ITEMS, Share

ONE = Share("one")


def admission(limit: float = 100) -> Admission:
    """A bound that starts at *limit*."""
    return Admission(min_items=10, max_items=1000, batch_items=8, limit=limit)


def fill(door: Admission, share: Share) -> None:
    """Enter until refused."""
    while True:
        door.enter(1, share)


def test_what_does_not_fit_is_refused_with_a_wait() -> None:
    """Refused at once, and told when to come back."""
    door = admission(limit=2)
    door.enter(2, ONE)

    with pytest.raises(Overloaded) as caught:
        door.enter(1, ONE)

    assert (caught.value.retry_after_s or 0) >= 0.25
    door.leave(2, ONE)
    door.enter(1, ONE)


def test_a_large_request_can_enter_an_idle_service() -> None:
    """Whatever time it has: it can be in nobody's way. The next must fit into its own."""
    door = admission(limit=10)
    door.learn(waited_s=None, call_s=0.1, now=0.0, item_s=0.01)
    door.enter(512, ONE, time_left_s=1)

    with pytest.raises(Overloaded) as caught:
        door.enter(100, ONE, time_left_s=3)
    assert caught.value.retry_after_s == pytest.approx(200 * 0.01 - 1.5, abs=1)
    door.enter(100, ONE, time_left_s=5)


def test_a_large_request_shuts_no_small_one_out() -> None:
    """They take turns in the queue, so small ones are refused for small ones only, and come back when those leave."""
    door = admission(limit=10)
    door.enter(2048, ONE)
    door.enter(TURN_ITEMS, ONE)
    door.enter(TURN_ITEMS, ONE)

    with pytest.raises(Overloaded):
        door.enter(1, ONE)
    door.leave(TURN_ITEMS, ONE)
    door.enter(1, ONE)


def test_long_waits_shrink_the_bound_once_a_call() -> None:
    """A slow Triton lowers what is admitted, step by step down to what its calls hold."""
    door = admission()
    door.learn(waited_s=5.0, call_s=1.0, now=10.0)
    assert door.limit == pytest.approx(90)
    door.learn(waited_s=5.0, call_s=1.0, now=10.5)
    assert door.limit == pytest.approx(90)

    for second in range(11, 100):
        door.learn(waited_s=5.0, call_s=1.0, now=float(second))
    assert door.limit == 10


def test_a_bound_in_the_way_grows_while_waits_are_short() -> None:
    """A Triton that recovers is given more again; an idle one teaches nothing."""
    door = admission(limit=20)
    door.learn(waited_s=0.01, call_s=0.05, now=1.0)
    assert door.limit == 20

    for _ in range(19):
        door.enter(1, ONE)
    door.learn(waited_s=0.01, call_s=0.05, now=2.0)
    assert door.limit == 22


def test_low_priority_is_refused_first() -> None:
    """The last part of the bound is kept for the higher priority."""
    door = admission(limit=100)
    high, low = Share("high", priority=1), Share("low", priority=3)
    for _ in range(85):
        door.enter(1, high)

    with pytest.raises(Overloaded):
        fill(door, low)
    door.enter(1, high)


def test_no_tier_is_shut_out() -> None:
    """However much the high priority takes, the low one gets its guaranteed part."""
    door = admission(limit=100)
    high, low = Share("high", priority=1), Share("low", priority=2)
    with pytest.raises(Overloaded):
        fill(door, high)

    door.enter(1, low)

    assert door.by_tier["low"] == 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("enter"), st.integers(1, 50), st.sampled_from("abc")),
            st.tuples(st.just("leave"), st.integers(0, 9), st.just("")),
            st.tuples(st.just("learn"), st.integers(0, 4000), st.just("")),
        ),
        max_size=60,
    )
)
def test_the_books_balance(steps: list[tuple[str, int, str]]) -> None:
    """Whatever happens, what is counted is what is inside, and the bound stays in its bounds."""
    door = admission()
    inside: list[tuple[int, Share]] = []
    for clock, (step, number, tier) in enumerate(steps):
        if step == "enter":
            share = Share(tier, priority=1 + "abc".index(tier))
            try:
                door.enter(number, share)
            except Overloaded:
                continue
            inside.append((number, share))
        elif step == "leave" and inside:
            items, share = inside.pop(number % len(inside))
            door.leave(items, share)
        elif step == "learn":
            door.learn(waited_s=number / 1000, call_s=0.1, now=float(clock))
        assert door.admitted == sum(items for items, _ in inside) == sum(door.by_tier.values())
        assert door.admitted_small == sum(items for items, _ in inside if items <= TURN_ITEMS)
        assert 10 <= door.limit <= 1000


def _overload(factor: float, seconds: float = 12.0, warm_s: float = 6.0) -> tuple[list[float], float]:
    """
    Run a model of 200 items a second, two calls of up to 64 at a time, against Poisson arrivals.

    Returns:
        Seconds that each admitted item took, ascending, and items a second; both after the first *warm_s*.
    """
    source = random.Random(1)
    door = Admission(min_items=128, max_items=20_000, batch_items=64)
    waiting: deque[float] = deque()
    calls: list[tuple[float, float, list[float]]] = []
    took_s: list[float] = []
    now = arrival = 0.0
    while now < seconds:
        if calls and calls[0][0] <= arrival:
            now, started, arrivals = heapq.heappop(calls)
            door.learn(waited_s=started - arrivals[0], call_s=now - started, now=now)
            for _ in arrivals:
                door.leave(1, ONE)
            took_s += [now - arrived for arrived in arrivals if now > warm_s]
        else:
            now, arrival = arrival, arrival + source.expovariate(200 * factor)
            with suppress(Overloaded):
                door.enter(1, ONE)
                waiting.append(now)
        while waiting and len(calls) < 2:
            batch = [waiting.popleft() for _ in range(min(64, len(waiting)))]
            heapq.heappush(calls, (now + len(batch) / 100 * source.uniform(0.8, 1.2), now, batch))
    return sorted(took_s), len(took_s) / (seconds - warm_s)


def test_four_times_too_much_costs_the_admitted_little() -> None:
    """Soon after the start, p99 is within twice a full call's time, and as much is answered as can be."""
    took_s, per_s = _overload(4.0)

    assert took_s[int(0.99 * len(took_s))] < 2 * 64 / 100
    assert per_s > 0.9 * 200
