"""Turns are fair: by weight among tiers, by turns within one, and nobody starves."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.inference.fair_queue import TURN_ITEMS, FairQueue, Share

LOW = Share("low", priority=2)
HIGH = Share("high", priority=1)


def test_one_request_leaves_in_its_own_order() -> None:
    """Alone, the queue is first in, first out."""
    queue: FairQueue[int] = FairQueue()
    queue.push([1, 2, 3], Share())

    assert [queue.pop() for _ in range(3)] == [1, 2, 3]
    with pytest.raises(IndexError):
        queue.pop()


def test_a_higher_priority_goes_first_and_not_alone() -> None:
    """One step of priority is worth four times the turns."""
    queue: FairQueue[str] = FairQueue()
    queue.push(["low"] * 100, LOW)
    queue.push(["high"] * 100, HIGH)

    served = Counter(queue.pop() for _ in range(100))

    assert served["high"] == pytest.approx(80, abs=2)
    assert served["low"] == pytest.approx(20, abs=2)


def test_weights_share_within_a_priority() -> None:
    """Three to one is three to one."""
    queue: FairQueue[str] = FairQueue()
    queue.push(["a"] * 100, Share("a", weight=3))
    queue.push(["b"] * 100, Share("b", weight=1))

    assert Counter(queue.pop() for _ in range(80))["a"] == pytest.approx(60, abs=2)


def test_a_large_request_does_not_stand_before_a_small_one() -> None:
    """Small ones have a lane of their own, and don't have all of it."""
    queue: FairQueue[str] = FairQueue()
    queue.push(["large"] * 2048, Share())
    for _ in range(100):
        queue.push(["small"], Share())

    order = [queue.pop() for _ in range(100)]

    assert order[0] == "small"
    assert Counter(order)["small"] == pytest.approx(75, abs=TURN_ITEMS)


def test_large_requests_take_turns() -> None:
    """One of 20 isn't behind all of one of 2,048."""
    queue: FairQueue[str] = FairQueue()
    queue.push(["huge"] * 2048, Share())
    queue.push(["large"] * 20, Share())

    order = [queue.pop() for _ in range(6 * TURN_ITEMS)]

    assert order.count("large") == 20
    assert queue.depths() == {"small": 0, "large": 2068 - len(order)}


def test_an_idle_tier_saves_up_no_turns() -> None:
    """Who comes late shares from now on, and catches nothing up."""
    queue: FairQueue[str] = FairQueue()
    queue.push(["early"] * 1000, Share("early"))
    for _ in range(500):
        queue.pop()
    queue.push(["late"] * 100, Share("late"))

    assert Counter(queue.pop() for _ in range(100))["early"] == pytest.approx(50, abs=2)


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"),
            st.integers(1, 3),
            st.floats(0.1, 10),
            st.integers(0, 20),
            st.integers(0, 9),
        ),
        max_size=30,
    )
)
def test_nothing_is_lost_doubled_or_turned_round(pushes: list[tuple[str, int, float, int, int]]) -> None:
    """Every entry leaves once, and each request's entries leave in their own order."""
    queue: FairQueue[tuple[int, int]] = FairQueue()
    left: list[tuple[int, int]] = []
    total = 0
    for number, (tier, priority, weight, size, pops) in enumerate(pushes):
        queue.push([(number, index) for index in range(size)], Share(tier, priority, weight))
        total += size
        left.extend(queue.pop() for _ in range(min(pops, len(queue))))
    assert len(list(queue)) == len(queue)
    left.extend(queue.pop() for _ in range(len(queue)))

    assert len(left) == len(set(left)) == total
    for number in range(len(pushes)):
        assert [index for request, index in left if request == number] == sorted(
            index for request, index in left if request == number
        )
