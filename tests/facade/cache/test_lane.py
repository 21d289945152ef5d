"""What is asked while calls are under way leaves together, and everybody gets the replies to their own questions."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from facade.cache.lane import Lane, NodeUnavailable, Reply, Wait


class Server:
    """Answers each question with its double once its gate is open, and remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.gate = asyncio.Event()
        self.is_well = True

    async def call(self, asked: list[int], _waits: list[Wait | None]) -> list[Reply]:
        """Answer all questions of one call."""
        self.calls.append(asked)
        await self.gate.wait()
        return [2 * question for question in asked]

    def lane(self, **options: int) -> Lane[int]:
        """A way to this server."""
        return Lane(self.call, lambda: self.is_well, **options)


async def turn() -> None:
    """Let the loop go round a few times."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_first_leave_at_once_and_the_others_together() -> None:
    """While both places are taken, questions gather; the next free place takes them all."""

    async def run() -> None:
        server = Server()
        lane = server.lane()
        replies = [lane.submit([number]) for number in range(6)]
        await turn()
        assert server.calls == [[0], [1]]
        server.gate.set()
        assert await asyncio.gather(*replies) == [[2 * number] for number in range(6)]
        assert server.calls == [[0], [1], [2, 3, 4, 5]]

    asyncio.run(run())


def test_a_call_is_bounded_unless_one_caller_asks_for_more() -> None:
    """Questions of one caller stay together."""

    async def run() -> None:
        server = Server()
        lane = server.lane(max_calls=1, max_items=3)
        replies = [lane.submit(asked) for asked in ([1], [2, 3], [4, 5], [6, 7, 8, 9], [10])]
        server.gate.set()
        await asyncio.gather(*replies)
        assert server.calls == [[1], [2, 3], [4, 5], [6, 7, 8, 9], [10]]

    asyncio.run(run())


@given(st.lists(st.lists(st.integers(0, 99), max_size=5), max_size=20), st.integers(1, 3), st.integers(1, 8))
def test_each_caller_gets_its_own_replies(asked: list[list[int]], max_calls: int, max_items: int) -> None:
    """Whatever is merged with whatever, replies are not mixed up."""

    async def run() -> None:
        server = Server()
        server.gate.set()
        lane = server.lane(max_calls=max_calls, max_items=max_items)
        replies = await asyncio.gather(*(lane.submit(questions) for questions in asked))
        assert replies == [[2 * question for question in questions] for questions in asked]

    asyncio.run(run())


def test_what_nobody_waits_for_is_not_sent() -> None:
    """Callers that gave up while they waited for a place cost the server nothing."""

    async def run() -> None:
        server = Server()
        lane = server.lane(max_calls=1)
        first = lane.submit([1])
        left, stays = Wait(), Wait()
        lost = lane.submit([2], left)
        last = lane.submit([3], stays)
        left.given_up = True
        server.gate.set()
        assert await first == [2]
        assert await last == [6]
        assert server.calls == [[1], [3]]
        (reply,) = await lost
        assert isinstance(reply, NodeUnavailable)

    asyncio.run(run())


def test_nobody_queues_behind_a_call_to_a_server_that_is_not_well() -> None:
    """A probe that hangs holds its own caller only."""

    async def run() -> None:
        server = Server()
        server.is_well = False
        lane = server.lane()
        probe = lane.submit([1])
        (reply,) = await lane.submit([2])
        assert isinstance(reply, NodeUnavailable)
        server.gate.set()
        assert await probe == [2]
        assert server.calls == [[1]]

    asyncio.run(run())


def test_closing_tells_all_who_wait() -> None:
    """Those whose call is under way, those whose call has not begun, and those in the queue."""

    async def run() -> None:
        server = Server()
        lane = server.lane()
        under_way = lane.submit([1])
        await turn()
        replies = [under_way, *(lane.submit([number]) for number in (2, 3))]
        await lane.aclose()
        for reply in await asyncio.gather(*replies):
            assert isinstance(reply[0], NodeUnavailable)
        assert len(asyncio.all_tasks()) == 1

    asyncio.run(run())
