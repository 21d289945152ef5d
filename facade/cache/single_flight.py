"""
Concurrent misses for one key share one computation in this process.

A *work* is one background task that brings the results of several keys; each key's *flight* is what others can
join. Rules a later editor must keep:

* A caller that leaves cancels nothing that somebody else waits for; the last one to leave a work cancels it.
* A flight that is over, or whose work is being cancelled, can't be found any more: nobody joins a sinking ship.
* Results and failures go to those who wait now; nothing is remembered here.
"""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Generic, TypeVar

from facade.errors import BackendUnavailable

Result = TypeVar("Result")


class Work(Generic[Result]):
    """One background task, and the flights that it has to land."""

    __slots__ = ("flights", "task", "waiters")

    def __init__(self) -> None:
        self.flights: dict[bytes, Flight[Result]] = {}
        self.task: asyncio.Task[None] | None = None
        self.waiters = 0


class Flight(Generic[Result]):
    """The result of one key, on its way."""

    __slots__ = ("future", "key", "work")

    def __init__(self, key: bytes, work: Work[Result]) -> None:
        self.key = key
        self.work = work
        self.future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()


class SingleFlight(Generic[Result]):
    """All flights of this process."""

    def __init__(self) -> None:
        self._flights: dict[bytes, Flight[Result]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._flights)

    def find(self, key: bytes) -> Flight[Result] | None:
        """The flight that *key* can join, if there is one."""
        return self._flights.get(key)

    def start(
        self, keys: Sequence[bytes], run: Callable[[Work[Result]], Coroutine[None, None, None]]
    ) -> Work[Result]:
        """
        Start a work for *keys*, none of which is in flight; it is cancelled unless somebody attends it.

        Args:
            keys: The keys that it will land.

            run: Lands or fails each of them; what it raises fails those that are left.
        """
        work: Work[Result] = Work()
        for key in keys:
            work.flights[key] = self._flights[key] = Flight(key, work)
        work.task = asyncio.create_task(run(work), name="cache-work")
        self._tasks.add(work.task)
        work.task.add_done_callback(partial(self._finish, work))
        return work

    def land(self, flight: Flight[Result], result: Result) -> None:
        """Give *result* to all who wait for *flight*."""
        self._forget(flight)
        if not flight.future.done():
            flight.future.set_result(result)

    def fail(self, flight: Flight[Result], error: BaseException) -> None:
        """Give *error* to all who wait for *flight*; the next to ask starts anew."""
        self._forget(flight)
        if not flight.future.done():
            flight.future.set_exception(error)
            # Read it once: asyncio complains about failures that nobody looked at, and all may have left.
            flight.future.exception()

    @contextmanager
    def attending(self, flights: Collection[Flight[Result]]) -> Iterator[None]:
        """Count as one who waits for the works of *flights* while the block runs."""
        works = {flight.work for flight in flights}
        for work in works:
            work.waiters += 1
        try:
            yield
        finally:
            for work in works:
                self._leave(work)

    async def aclose(self) -> None:
        """Cancel all works; whoever waits is told that the service stops."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _finish(self, work: Work[Result], task: asyncio.Task[None]) -> None:
        """Leave no flight of a work in the air, however its task ended, even if it never began."""
        self._tasks.discard(task)
        stopping = BackendUnavailable("The service is stopping.")
        error = stopping if task.cancelled() else task.exception()
        for flight in work.flights.values():
            if not flight.future.done():
                self.fail(flight, error or RuntimeError("A work left out this key. This is a bug."))

    def _leave(self, work: Work[Result]) -> None:
        """Cancel a work that nobody waits for any more."""
        work.waiters -= 1
        if work.waiters or work.task is None or work.task.done():
            return
        for flight in work.flights.values():
            self._forget(flight)
        work.task.cancel()

    def _forget(self, flight: Flight[Result]) -> None:
        """Take *flight* off the table, unless a newer one flies under its key."""
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
