"""The batcher keeps every caller's results apart, whatever is merged, split, cancelled or failing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.errors import BackendFailed, BackendUnavailable, DeadlineExceeded, InvalidInput
from facade.inference.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio


class Doubler:
    """A model that doubles numbers, refuses negative ones, and can be held."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.timeouts_s: list[float] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.cancelled = 0
        self.error: Exception | None = None

    async def __call__(self, items: Sequence[int], timeout_s: float) -> list[int]:
        """Run one call."""
        self.calls.append(list(items))
        self.timeouts_s.append(timeout_s)
        self.reached.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        if any(item < 0 for item in items):
            raise InvalidInput("negative")
        return [2 * item for item in items]


def in_seconds(seconds: float) -> float:
    """A deadline on the loop's clock."""
    return asyncio.get_running_loop().time() + seconds


async def hold(batcher: Batcher[int, int], model: Doubler, item: int = 0) -> asyncio.Task[list[int]]:
    """Occupy one call with *item* until the model's gate opens."""
    model.gate.clear()
    model.reached.clear()
    task = asyncio.create_task(batcher.submit([item], deadline=in_seconds(10)))
    await model.reached.wait()
    return task


async def settle() -> None:
    """Let everything that is due on the loop run."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_single_item_leaves_at_once() -> None:
    """An idle batcher adds no wait."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=4, max_calls=1)

    results = await batcher.submit([21], deadline=in_seconds(1))

    assert results == [42]
    assert model.calls == [[21]]


async def test_a_call_with_heavy_items_takes_few_neighbours() -> None:
    """Once the weight is reached the rest waits for the next call; an item above it travels all the same."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1, max_batch_weight=10, weigh=lambda item: item)
    first = await hold(batcher, model)
    waiting = asyncio.create_task(batcher.submit([4, 5, 6, 50, 1, 1], deadline=in_seconds(10)))
    await settle()
    model.gate.set()

    assert await waiting == [8, 10, 12, 100, 2, 2]
    assert model.calls == [[0], [4, 5, 6], [50], [1, 1]]
    await first


async def test_what_gathers_while_busy_leaves_together() -> None:
    """Items that wait for the same call travel in one."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1)
    first = await hold(batcher, model)
    waiting = [asyncio.create_task(batcher.submit([i], deadline=in_seconds(10))) for i in (1, 2, 3)]
    await settle()

    assert batcher.queue_depths() == {"small": 3, "large": 0}
    model.gate.set()

    assert await asyncio.gather(first, *waiting) == [[0], [2], [4], [6]]
    assert model.calls == [[0], [1, 2, 3]]


async def test_a_call_never_has_more_than_the_largest_batch() -> None:
    """A request of many items is split into calls."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=4, max_calls=2)

    results = await batcher.submit(list(range(10)), deadline=in_seconds(5))

    assert results == [2 * i for i in range(10)]
    assert sorted(len(call) for call in model.calls) == [2, 4, 4]


async def test_no_more_calls_than_allowed_are_under_way() -> None:
    """The bound on calls holds while many wait."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=1, max_calls=2)
    first = await hold(batcher, model)
    rest = [asyncio.create_task(batcher.submit([i], deadline=in_seconds(5))) for i in range(5)]
    await settle()

    assert batcher.calls_in_flight == 2
    model.gate.set()
    await asyncio.gather(first, *rest)

    assert batcher.calls_in_flight == 0


async def test_a_bad_item_fails_its_own_caller_only() -> None:
    """Neighbours in the same merged call get their answers."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1)
    first = await hold(batcher, model)
    tasks = [asyncio.create_task(batcher.submit([i], deadline=in_seconds(5))) for i in (1, 2, -3, 4, 5)]
    await settle()
    model.gate.set()
    await first

    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert results[:2] == [[2], [4]]
    assert isinstance(results[2], InvalidInput)
    assert results[3:] == [[8], [10]]


async def test_an_unreachable_backend_fails_all_without_retries() -> None:
    """A failure that can't be one item's fault is not tried again."""
    model = Doubler()
    model.error = BackendUnavailable("gone")
    batcher = Batcher(model, max_batch_size=8, max_calls=1)

    with pytest.raises(BackendUnavailable):
        await batcher.submit([1, 2, 3], deadline=in_seconds(5))

    assert len(model.calls) == 1


async def test_a_crash_of_the_call_reaches_the_caller() -> None:
    """A fault of our own ends in an error and never in a wait without end."""
    model = Doubler()
    model.error = RuntimeError("bug")
    batcher = Batcher(model, max_batch_size=8, max_calls=1)

    with pytest.raises(RuntimeError, match="bug"):
        await batcher.submit([1], deadline=in_seconds(5))


async def test_a_wrong_number_of_results_is_an_error() -> None:
    """Results are never guessed to belong to items."""

    async def forget_one(items: Sequence[int], _timeout_s: float) -> list[int]:
        return list(items)[:-1]

    batcher = Batcher(forget_one, max_batch_size=8, max_calls=1)

    with pytest.raises(BackendFailed, match="3 items were sent and 2"):
        await batcher.submit([1, 2, 3], deadline=in_seconds(5))


async def test_an_item_whose_caller_left_is_never_sent() -> None:
    """Work for nobody is dropped before dispatch."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1)
    first = await hold(batcher, model)
    leaving = asyncio.create_task(batcher.submit([7], deadline=in_seconds(5)))
    staying = asyncio.create_task(batcher.submit([8], deadline=in_seconds(5)))
    await settle()
    leaving.cancel()
    await settle()
    model.gate.set()

    assert await staying == [16]
    await first
    assert model.calls == [[0], [8]]


async def test_an_item_past_its_deadline_is_never_sent() -> None:
    """Work that would come too late is dropped before dispatch."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1)
    first = await hold(batcher, model)
    late = asyncio.create_task(batcher.submit([7], deadline=in_seconds(-1)))
    await settle()
    model.gate.set()
    await first

    with pytest.raises(DeadlineExceeded):
        await late

    assert model.calls == [[0]]


async def test_a_call_nobody_waits_for_is_cancelled() -> None:
    """When the last caller leaves, the call ends, and its place is free again."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1)
    only = await hold(batcher, model)
    only.cancel()
    await settle()

    assert model.cancelled == 1
    assert batcher.calls_in_flight == 0


async def test_a_call_somebody_waits_for_goes_on() -> None:
    """One of two callers leaving doesn't harm the other."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1)
    model.gate.clear()
    leaving = asyncio.create_task(batcher.submit([1], deadline=in_seconds(5)))
    staying = asyncio.create_task(batcher.submit([2], deadline=in_seconds(5)))
    await model.reached.wait()
    leaving.cancel()
    await settle()
    model.gate.set()

    assert await staying == [4]
    assert model.calls == [[1, 2]]
    assert model.cancelled == 0


async def test_the_call_gets_the_time_of_its_most_patient_caller() -> None:
    """A hurried caller doesn't cut the time of a patient one."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=8, max_calls=1)
    await asyncio.gather(
        batcher.submit([1], deadline=in_seconds(1)), batcher.submit([2], deadline=in_seconds(50))
    )

    assert model.calls == [[1, 2]]
    assert 49 < model.timeouts_s[0] <= 50


async def test_closing_fails_what_waits_and_cancels_what_runs() -> None:
    """Nobody is left hanging at shutdown."""
    model = Doubler()
    batcher = Batcher(model, max_batch_size=1, max_calls=1)
    running = await hold(batcher, model)
    waiting = asyncio.create_task(batcher.submit([1], deadline=in_seconds(5)))
    await settle()
    await batcher.aclose()

    for task in (running, waiting):
        with pytest.raises(BackendUnavailable):
            await task


@given(
    requests=st.lists(st.lists(st.integers(-3, 40), min_size=1, max_size=6), min_size=1, max_size=12),
    max_batch_size=st.integers(1, 7),
    max_calls=st.integers(1, 3),
    leavers=st.sets(st.integers(0, 11)),
    pauses=st.lists(st.integers(0, 3), min_size=12, max_size=12),
)
def test_every_caller_gets_its_own_results(
    requests: list[list[int]], max_batch_size: int, max_calls: int, leavers: set[int], pauses: list[int]
) -> None:
    """Results are right for every caller whatever the sizes, the order, the bad items and the leaving."""

    async def run() -> None:
        model = Doubler()
        batcher = Batcher(model, max_batch_size=max_batch_size, max_calls=max_calls)
        tasks = []
        for request, pause in zip(requests, pauses, strict=False):
            tasks.append(asyncio.create_task(batcher.submit(request, deadline=in_seconds(30))))
            for _ in range(pause):
                await asyncio.sleep(0)
        for index in leavers:
            if index < len(tasks):
                tasks[index].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for index, (request, answer) in enumerate(zip(requests, answers, strict=True)):
            if isinstance(answer, asyncio.CancelledError):
                assert index in leavers
            elif any(item < 0 for item in request):
                assert isinstance(answer, InvalidInput)
            else:
                assert answer == [2 * item for item in request]
        await settle()
        assert batcher.calls_in_flight == 0
        assert all(len(call) <= max_batch_size for call in model.calls)

    asyncio.run(run())
