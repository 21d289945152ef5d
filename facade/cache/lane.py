"""
Merge what is asked of one Redis server: a few calls at a time, and what comes meanwhile leaves together.

A call through redis-py costs some 100 µs of our time and several turns of the loop, whether it asks for one key or
for a hundred. Without merging, sixteen requests at once would keep the loop so busy that lookups miss their budget
for no fault of Redis. Nothing is delayed for it: while a place is free, what is asked leaves at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Generic, NamedTuple, TypeVar

Asked = TypeVar("Asked")

Reply = object
"""What Redis answered, or the exception that stands for it."""


class NodeUnavailable(Exception):
    """Not asked: the node's breaker is open, it is being closed, or no node is known to serve the key."""


class Wait:
    """What a caller tells about its waiting for a reply."""

    __slots__ = ("given_up", "is_too_late")

    def __init__(self) -> None:
        self.given_up = False
        """Nobody waits any more: what wasn't sent yet needn't be."""

        self.is_too_late = False
        """The server is to blame: for the breaker, a reply after this is a failure."""


class _Entry(NamedTuple, Generic[Asked]):
    """What one caller asked."""

    asked: Sequence[Asked]
    wait: Wait | None
    replies: "asyncio.Future[list[Reply]]"


class Lane(Generic[Asked]):
    """
    The way of one kind of question to one server.

    Args:
        call: Sends questions and returns a reply for each, without raising; gets the waits of those who asked.

        is_open: Whether it is worth to wait for a place; asked when there is none.

        max_calls: Calls under way at once. Two keep both sides at work.

        max_items: Questions in one call, unless a single caller has more; bounds what a reply weighs.
    """

    def __init__(
        self,
        call: Callable[[list[Asked], list[Wait | None]], Coroutine[None, None, list[Reply]]],
        is_open: Callable[[], bool],
        *,
        max_calls: int = 2,
        max_items: int = 512,
    ) -> None:
        self._call = call
        self._is_open = is_open
        self._max_calls = max_calls
        self._max_items = max_items
        self._waiting: deque[_Entry[Asked]] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    def submit(self, asked: Sequence[Asked], wait: Wait | None = None) -> "asyncio.Future[list[Reply]]":
        """
        Ask; at once if there is a place.

        Args:
            asked: The questions.

            wait: How the caller waits; a question is not sent any more once its caller gave up.

        Returns:
            One reply per question, later. To stop waiting, leave it alone.
        """
        entry = _Entry(asked, wait, asyncio.get_running_loop().create_future())
        if self._calls and not self._is_open():
            # Behind a probe that may hang there is nothing to wait for.
            _refuse(entry)
        else:
            self._waiting.append(entry)
            self._dispatch()
        return entry.replies

    async def aclose(self) -> None:
        """Stop all calls; whoever waits is told so."""
        while self._waiting:
            _refuse(self._waiting.popleft())
        calls = list(self._calls)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    def _dispatch(self) -> None:
        """Send what waits, as far as there are places."""
        while self._waiting and len(self._calls) < self._max_calls:
            batch = self._next_batch()
            if batch:
                task = asyncio.create_task(self._run(batch), name="cache-redis")
                self._calls.add(task)
                task.add_done_callback(partial(self._finish, batch))

    def _next_batch(self) -> list[_Entry[Asked]]:
        """Take as many as fit into a call, without those whose callers left."""
        batch: list[_Entry[Asked]] = []
        room = self._max_items
        while self._waiting and (not batch or len(self._waiting[0].asked) <= room):
            entry = self._waiting.popleft()
            if entry.wait is not None and entry.wait.given_up:
                _refuse(entry)
                continue
            batch.append(entry)
            room -= len(entry.asked)
        return batch

    async def _run(self, batch: list[_Entry[Asked]]) -> None:
        """Make one call and hand its replies out."""
        asked = [question for entry in batch for question in entry.asked]
        replies = await self._call(asked, [entry.wait for entry in batch])
        start = 0
        for entry in batch:
            end = start + len(entry.asked)
            if not entry.replies.done():
                entry.replies.set_result(replies[start:end])
            start = end

    def _finish(self, batch: list[_Entry[Asked]], task: asyncio.Task[None]) -> None:
        """Free the place of a call, and let nobody wait for one that was cancelled, even before it began."""
        self._calls.discard(task)
        for entry in batch:
            _refuse(entry)
        self._dispatch()


def _refuse(entry: _Entry[Asked]) -> None:
    """Reply that nothing was asked, unless there is a reply."""
    if not entry.replies.done():
        entry.replies.set_result([NodeUnavailable()] * len(entry.asked))
