"""Answers are written by tasks of their own, and measured."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from facade.context import RequestContext
from facade.errors import BackendFailed, BackendUnavailable
from facade.inference.catalogue import ModelCard, ServedModel
from facade.inference.fair_queue import Share
from facade.inference.generation import Sampling
from facade.inference.recordings import Reader, Recording
from facade.inference.release_split import ReleaseSplit
from facade.inference.writer import GenerationLimits, Order, Writer, single_choice
from facade.triton.client import TritonClient
from tests.facade.wire_generation import chat_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

ORDER = Order(ServedModel("chat", (1,), 1, ModelCard(task="text-generation", max_n=4)), 1, b"a b", Sampling())


class Noted:
    """Takes note of what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def observe_first_token(self, model: str, seconds: float) -> None:
        """Note it."""
        self.told.append(("first", model))

    def observe_output_token(self, model: str, seconds: float) -> None:
        """Note it."""
        self.told.append(("output", model))


class Crashing:
    """A backend with a bug."""

    async def stream(self, *_: Any, **__: Any) -> AsyncIterator[dict[str, bytes]]:
        """Crash."""
        yield {}
        raise RuntimeError("a bug")


def write(writer: Writer, told: list[Recording] | None = None) -> Reader:
    """Begin an answer, with a reader."""
    whole = [] if told is None else told
    recording = writer.write(ORDER, Share(), on_whole=whole.append, on_gone=lambda _: None)
    return Reader(recording, RequestContext("test"))


@pytest.fixture(name="backend")
async def _backend(triton: WireTriton) -> AsyncIterator[TritonClient]:
    """A client of a Triton that generates."""
    triton.models["chat"] = chat_model()
    client = TritonClient(triton.url)
    yield client
    await client.aclose()


async def test_an_answer_is_measured_and_handed_over_when_it_is_whole(backend: TritonClient) -> None:
    """Before its readers know that it is."""
    noted, whole = Noted(), []
    writer = Writer(backend, GenerationLimits(), noted, ReleaseSplit())
    reader = write(writer, whole)
    text = "".join([piece.text async for piece in reader])

    assert text == "Hello, world!"
    assert noted.told == [("first", "chat"), ("output", "chat")]
    assert [recording.completion_tokens for recording in whole] == [4]
    await writer.aclose()


async def test_a_bug_reaches_the_reader_and_frees_the_place() -> None:
    """A reader never waits for a task that crashed."""
    writer = Writer(Crashing(), GenerationLimits(), Noted(), ReleaseSplit())  # type: ignore[arg-type]
    with pytest.raises(BackendFailed):
        await write(writer).wait_begun()
    async with asyncio.timeout(5):
        while writer.running:
            await asyncio.sleep(0)


async def test_an_answer_cancelled_before_it_began_has_an_end(backend: TritonClient) -> None:
    """Also where its task never ran."""
    writer = Writer(backend, GenerationLimits(), Noted(), ReleaseSplit())
    reader = write(writer)
    await writer.aclose()

    with pytest.raises(BackendUnavailable):
        await reader.wait_begun()
    assert writer.running == 0


@pytest.mark.parametrize(("seed", "expected"), [(None, None), (5, 7), (2**63 - 1, 1), (-1, 1)])
def test_answers_asked_for_apart_have_seeds_of_their_own(seed: int | None, expected: int | None) -> None:
    """Within the range of a seed."""
    alone = single_choice(Sampling(n=3, seed=seed, top_p=0.5), 2)

    assert alone == Sampling(n=1, seed=expected, top_p=0.5)
