"""
Merge the waiting items of many callers into few calls: "batch while busy".

Strategy: while fewer than *max_calls* calls are under way, what waits leaves at once; otherwise it waits for the next
call to end and leaves with everything that gathered meanwhile. No timer, so an idle service adds no delay, and a busy
one makes its batches as large as its load.

Rules that a later editor must keep:

1. A caller's items come back in the caller's order, each with its own result, whatever was merged, split or retried.
2. An item whose caller left, or whose deadline passed, is never sent.
3. A call nobody waits for any more is cancelled.
4. A failure that can be one item's fault fails that item's caller alone: the call is halved until it is found.
5. What doesn't fit is refused at the door (`admission`), and what waits leaves in fair turns (`fair_queue`).
6. Whoever asks for little doesn't wait for whoever asks for much: large requests have a lane of their own, and make
   calls short while small ones come.
7. Nothing here knows what an item is.
"""

from __future__ import annotations

import asyncio
import math
from contextvars import copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from facade.errors import BackendFailed, BackendUnavailable, DeadlineExceeded, FacadeError, InvalidInput
from facade.inference.fair_queue import TURN_ITEMS, FairQueue, Share

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextvars import Context

    from facade.inference.admission import Admission

Item = TypeVar("Item")
Result = TypeVar("Result")
DEFAULT_SHARE = Share()
"""Where tiers don't matter, there is one."""

SMALL_LATELY_S = 1.0
"""While a small request came within so many seconds, the next may too: calls are kept short for it."""

ITEM_FAULTS = (InvalidInput, BackendFailed)
"""Errors of a merged call that may be the fault of one of its items."""


@dataclass(eq=False, slots=True)
class _Ticket(Generic[Result]):
    """One caller's submission: its results gather here until all are there or one failed."""

    deadline: float
    """On the loop's clock, in seconds."""

    results: list[Result | None]
    """By the caller's own index."""

    missing: int
    """Results still to come."""

    is_small: bool
    """Whether the caller waits in the lane of small requests."""

    context: Context
    """Of the caller's task, so that a trace goes on in the call."""

    done: asyncio.Future[None]
    """Set when all results are there, failed with the first error, cancelled when the caller leaves."""

    calls: set[_Call] = field(default_factory=set)
    """Calls under way that carry items of this ticket."""

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def give(self, index: int, result: Result) -> None:
        self.results[index] = result
        self.missing -= 1
        if self.missing == 0 and not self.done.done():
            self.done.set_result(None)


@dataclass(eq=False, slots=True)
class _Call:
    """A call under way and how many tickets still want something of it."""

    task: asyncio.Task[None] | None = None
    wanted_by: int = 0


@dataclass(slots=True)
class _Entry(Generic[Item, Result]):
    ticket: _Ticket[Result]
    index: int
    item: Item
    queued_at: float


class Batcher(Generic[Item, Result]):
    """
    The queue before one version of one model.

    Args:
        execute: Runs one merged call: items, and the seconds that the most patient of their callers still has, to one
            result an item in the same order.

        max_batch_size: Most items in a call.

        max_calls: Most calls under way.

        max_batch_weight: A call takes no further item once its items weigh so much together.

        weigh: An item's weight; for admission, its bytes.

        admission: Bounds what is taken in; None takes everything.

        observe_batch: Called with the number of items of each call that leaves, and the longest time in seconds that
            one of them waited.
    """

    def __init__(
        self,
        execute: Callable[[Sequence[Item], float], Awaitable[Sequence[Result]]],
        *,
        max_batch_size: int,
        max_calls: int,
        max_batch_weight: float = math.inf,
        weigh: Callable[[Item], float] = lambda _item: 1,
        admission: Admission | None = None,
        observe_batch: Callable[[int, float], None] = lambda _size, _waited_s: None,
    ) -> None:
        self._execute = execute
        self._max_batch_size = max_batch_size
        self.max_calls = max_calls
        """Most calls under way; may change, and holds from the next call on."""
        self._max_batch_weight = max_batch_weight
        self._weigh = weigh
        self._admission = admission
        self._observe_batch = observe_batch
        self._waiting: FairQueue[_Entry[Item, Result]] = FairQueue()
        self._calls: set[_Call] = set()
        self._is_pump_due = False
        self._small_at = -math.inf

    def queue_depths(self) -> dict[str, int]:
        """Items that wait for a call, by lane; those whose caller left may still be counted."""
        return self._waiting.depths()

    @property
    def calls_in_flight(self) -> int:
        """Calls under way."""
        return len(self._calls)

    @property
    def is_idle(self) -> bool:
        """Whether nobody waits and nothing is under way."""
        return not self._waiting and not self._calls and not self._is_pump_due

    def check(self, items: int, share: Share, *, deadline: float) -> None:
        """
        Refuse what `submit` would refuse, before anything is made ready for it.

        Args:
            items: How many.

            share: The tier that the caller belongs to.

            deadline: On the loop's clock, in seconds.

        Raises:
            Overloaded: If there is no room.
        """
        if self._admission is not None:
            time_left_s = deadline - asyncio.get_running_loop().time()
            self._admission.check(items, share, time_left_s=time_left_s)

    async def submit(
        self, items: Sequence[Item], *, deadline: float, share: Share = DEFAULT_SHARE
    ) -> list[Result]:
        """
        Have the items run, merged with whatever else waits.

        Args:
            items: At least one.

            deadline: On the loop's clock, in seconds; items not sent by then never are.

            share: The tier that the caller belongs to.

        Returns:
            One result an item, in the items' order.

        Raises:
            Overloaded: At once, if there is no room.

            FacadeError: The first error that one of the items met.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        is_small = len(items) <= TURN_ITEMS
        weight = 0 if is_small else int(sum(map(self._weigh, items)))
        if is_small:
            self._small_at = now
        if self._admission is not None:
            self._admission.enter(len(items), share, size_bytes=weight, time_left_s=deadline - now)
        ticket: _Ticket[Result] = _Ticket(
            deadline, [None] * len(items), len(items), is_small, copy_context(), loop.create_future()
        )
        self._waiting.push([_Entry(ticket, index, item, now) for index, item in enumerate(items)], share)
        # On the loop's next turn, so that what arrives within this turn leaves together.
        if not self._is_pump_due:
            self._is_pump_due = True
            loop.call_soon(self._pump)
        try:
            await ticket.done
        finally:
            self._leave(ticket)
            if self._admission is not None:
                self._admission.leave(len(items), share, size_bytes=weight)
        return ticket.results  # type: ignore[return-value]  # no None is left once `done` has a result

    async def aclose(self) -> None:
        """Cancel the calls under way and fail all that waits."""
        for entry in self._waiting:
            entry.ticket.fail(_closed())
        self._waiting.clear()
        tasks = [call.task for call in self._calls if call.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _pump(self) -> None:
        self._is_pump_due = False
        if not self._waiting:
            return
        now = asyncio.get_running_loop().time()
        while self._waiting and len(self._calls) < self.max_calls:
            batch = self._take_batch(now)
            if batch:
                self._start_call(batch)

    def _take_batch(self, now: float) -> list[_Entry[Item, Result]]:
        batch: list[_Entry[Item, Result]] = []
        weight = 0.0
        large_limit = self._find_large_limit(now)
        while self._waiting and len(batch) < self._max_batch_size and weight < self._max_batch_weight:
            entry = self._waiting.pop()
            if entry.ticket.done.done():
                continue
            if entry.ticket.deadline <= now:
                entry.ticket.fail(DeadlineExceeded("The request's time was over before the model was free."))
                continue
            batch.append(entry)
            weight += self._weigh(entry.item)
            if not entry.ticket.is_small and len(batch) >= large_limit:
                break
        return batch

    def _find_large_limit(self, now: float) -> int:
        """Tell with how many items a call is full for large requests: fewer while small ones wait for it to end."""
        if self._admission is None or now - self._small_at > SMALL_LATELY_S:
            return self._max_batch_size
        return self._admission.find_large_limit(self.max_calls)

    def _start_call(self, batch: list[_Entry[Item, Result]]) -> None:
        call = _Call()
        for ticket in {entry.ticket for entry in batch}:
            ticket.calls.add(call)
            call.wanted_by += 1
        self._calls.add(call)
        call.task = (
            batch[0]
            .ticket.done.get_loop()
            .create_task(self._run(call, batch), context=batch[0].ticket.context)
        )

    async def _run(self, call: _Call, batch: list[_Entry[Item, Result]]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        self._observe_batch(len(batch), started - min(entry.queued_at for entry in batch))
        # What left nothing behind may have been less than the model can do at once.
        calls = len(self._calls) if self._waiting else 0
        try:
            await self._attempt(batch)
            if self._admission is not None:
                self._learn(self._admission, batch, started, calls)
        finally:
            self._calls.discard(call)
            for ticket in {entry.ticket for entry in batch}:
                ticket.calls.discard(call)
            self._pump()

    def _learn(
        self, admission: Admission, batch: list[_Entry[Item, Result]], started: float, calls: int
    ) -> None:
        """Tell admission of a call that ended; *calls* were under way with it, 0 if the model wasn't busy."""
        now = asyncio.get_running_loop().time()
        queued_at = min((entry.queued_at for entry in batch if entry.ticket.is_small), default=None)
        admission.learn(
            waited_s=None if queued_at is None else started - queued_at,
            call_s=now - started,
            now=now,
            item_s=(now - started) / (calls * len(batch)) if calls else None,
        )

    async def _attempt(self, batch: list[_Entry[Item, Result]]) -> None:
        """Run *batch*; on a failure that may be one item's fault run its halves apart."""
        batch = [entry for entry in batch if not entry.ticket.done.done()]
        if not batch:
            return
        timeout_s = max(entry.ticket.deadline for entry in batch) - asyncio.get_running_loop().time()
        try:
            results = await self._execute([entry.item for entry in batch], max(timeout_s, 0.001))
        except ITEM_FAULTS as error:
            if len(batch) == 1:
                batch[0].ticket.fail(error)
                return
            middle = len(batch) // 2
            await self._attempt(batch[:middle])
            await self._attempt(batch[middle:])
        except asyncio.CancelledError:
            # By `aclose`, or because nobody waits any more: then this reaches no one.
            _fail_all(batch, _closed())
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it must reach the callers and not hang them
            _fail_all(batch, error)
        else:
            if len(results) != len(batch):
                message = f"{len(batch)} items were sent and {len(results)} results came back."
                _fail_all(batch, BackendFailed(message))
                return
            for entry, result in zip(batch, results, strict=True):
                entry.ticket.give(entry.index, result)

    def _leave(self, ticket: _Ticket[Result]) -> None:
        """The ticket's caller stopped waiting: cancel calls that nobody else waits for."""
        for call in ticket.calls:
            call.wanted_by -= 1
            if call.wanted_by == 0 and call.task is not None:
                call.task.cancel()
        ticket.calls.clear()


def _fail_all(batch: Sequence[_Entry[Item, Result]], error: Exception) -> None:
    for entry in batch:
        entry.ticket.fail(error)


def _closed() -> FacadeError:
    return BackendUnavailable("The façade is shutting down.", retry_after_s=1.0)
