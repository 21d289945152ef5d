"""Several answers are read as they come, and no longer than anybody wants them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import pytest

from facade.context import RequestContext
from facade.errors import BackendFailed
from facade.inference.generation import Piece, TokenLogprob
from facade.routes.openai_generation import WAITING_PIECES, chat_logprobs, completion_logprobs, gather, merge

if TYPE_CHECKING:
    from facade.inference.generation import Generation

pytestmark = pytest.mark.anyio


class Told:
    """A generation of so many pieces, each a letter; endless if there is no number, and failing if told so."""

    def __init__(self, letter: str, count: int | None, error: Exception | None = None) -> None:
        self.read = 0
        self._letter, self._count, self._error = letter, count, error

    def __aiter__(self) -> Told:
        return self

    async def __anext__(self) -> Piece:
        await asyncio.sleep(0)
        if self.read == self._count:
            raise self._error or StopAsyncIteration
        self.read += 1
        return Piece(0, self._letter, None, 1)


def merging(*told: Told, context: RequestContext | None = None) -> Any:
    """Merge them."""
    return merge(cast("list[Generation]", list(told)), context or RequestContext("id"))


async def test_pieces_come_from_all() -> None:
    """Each with its place, in its own order, until the last is over."""
    found = [
        (place, piece.text) async for place, piece in merging(Told("a", 3), Told("b", 100), Told("c", 0))
    ]

    assert [text for place, text in found if place == 0] == ["a"] * 3
    assert [text for place, text in found if place == 1] == ["b"] * 100
    assert len(found) == 103


async def test_one_failure_is_the_answers() -> None:
    """Raised where the answer is read; the others are read no further."""
    endless = Told("a", None)
    with pytest.raises(BackendFailed):
        async for _ in merging(endless, Told("b", 5, BackendFailed("no"))):
            pass
    read = endless.read
    await asyncio.sleep(0)

    assert endless.read <= read + 1


async def test_the_requests_end_ends_the_reading() -> None:
    """Also where nobody closes the merged stream, and never more waits than is allowed to."""
    context = RequestContext("id")
    told = [Told("a", None), Told("b", None)]
    merged = merging(*told, context=context)
    await anext(merged)
    for _ in range(3 * WAITING_PIECES):
        await asyncio.sleep(0)
    waiting = sum(one.read for one in told)
    for give_back in context.at_end:
        give_back()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.wait({task for task in others if "read" in str(task.get_coro())}, timeout=10)

    assert waiting <= WAITING_PIECES + 3
    assert not [task for task in others if "read" in str(task.get_coro()) and not task.done()]


async def test_who_is_waited_for_in_vain_is_cancelled() -> None:
    """The first failure ends the waiting for all."""
    never = asyncio.get_running_loop().create_future()

    async def fail() -> None:
        raise BackendFailed("no")

    with pytest.raises(BackendFailed):
        await gather(never, fail())
    assert never.cancelled()


def test_likely_tokens_have_two_shapes() -> None:
    """The new one by token, the old one list beside list."""
    likely = [TokenLogprob(1, "é", -0.1, (("é", -0.1), ("\ufffd", -3.0))), TokenLogprob(2, "b", -9.0, ())]

    assert chat_logprobs(likely, 2)["content"][0] == {
        "token": "é",
        "logprob": -0.1,
        "bytes": [0xC3, 0xA9],
        "top_logprobs": [
            {"token": "é", "logprob": -0.1, "bytes": [0xC3, 0xA9]},
            {"token": "\ufffd", "logprob": -3.0, "bytes": None},
        ],
    }
    assert completion_logprobs(likely, 7) == {
        "tokens": ["é", "b"],
        "token_logprobs": [-0.1, -9.0],
        "top_logprobs": [{"é": -0.1, "\ufffd": -3.0}, {}],
        "text_offset": [7, 8],
    }
