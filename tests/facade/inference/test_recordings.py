"""An answer while it is written: read at any pace, by any number, within a bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from facade.context import RequestContext
from facade.errors import BackendFailed, ReadTooSlowly
from facade.inference import recordings
from facade.inference.catalogue import ModelCard, ServedModel
from facade.inference.generation import Piece, TokenLogprob
from facade.inference.recordings import Reader, Recording, from_bytes, to_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

MODEL = ServedModel("chat", (1,), 1, ModelCard(task="text-generation"))


def pieces(*texts: str, ends: bool = False) -> list[Piece]:
    """A token each."""
    last = len(texts) - 1
    return [Piece(0, text, "stop" if ends and at == last else None, 1) for at, text in enumerate(texts)]


async def read(reader: Reader) -> str:
    """Read to the end."""
    return "".join([piece.text async for piece in reader])


async def test_who_comes_late_reads_from_the_beginning() -> None:
    """A reader doesn't see whether the answer was being written for somebody else."""
    recording = Recording(MODEL, 1, 1)
    early = asyncio.create_task(read(Reader(recording, RequestContext("a"))))
    recording.add(3, pieces("a", "b"))
    await asyncio.sleep(0)
    late = asyncio.create_task(read(Reader(recording, RequestContext("b"))))
    await asyncio.sleep(0)
    recording.add(3, pieces("c", ends=True))
    recording.end()

    assert await asyncio.gather(early, late) == ["abc", "abc"]


async def test_each_reader_learns_of_the_tokens_as_it_reads() -> None:
    """Who leaves half way has read so many, and no more."""
    recording, context = Recording(MODEL, 1, 1), RequestContext("a")
    reader = Reader(recording, context)
    recording.add(3, pieces("a", "b", "c"))
    await reader.wait_begun()
    await anext(reader)

    assert (context.tokens, context.completion_tokens) == (3 + 1, 1)
    assert (reader.prompt_tokens, reader.completion_tokens) == (3, 1)


async def test_only_the_last_one_to_leave_stops_the_writing() -> None:
    """Whoever began it."""
    stopped: list[Recording] = []
    recording = Recording(MODEL, 1, 1, on_abandoned=stopped.append)
    first, second = (Reader(recording, RequestContext(name)) for name in "ab")
    first.close()
    first.close()
    assert not stopped

    await second.aclose()
    assert stopped == [recording]


async def test_nothing_is_stopped_that_is_over() -> None:
    """Its stream is about to end by itself."""
    stopped: list[Recording] = []
    recording = Recording(MODEL, 1, 1, on_abandoned=stopped.append)
    reader = Reader(recording, RequestContext("a"))
    recording.add(1, pieces("a", ends=True))
    recording.end()
    reader.close()

    assert not stopped


async def test_a_failure_before_the_first_piece_is_raised_at_once() -> None:
    """So that it can be a status."""
    recording = Recording(MODEL, 1, 1)
    reader = Reader(recording, RequestContext("a"))
    recording.end(BackendFailed("broken"))

    with pytest.raises(BackendFailed):
        await reader.wait_begun()


async def test_a_failure_comes_after_what_was_written_and_to_each_its_own() -> None:
    """Headers are added to errors on their way up, and must not reach somebody else."""
    recording = Recording(MODEL, 1, 1)
    readers = [Reader(recording, RequestContext(name)) for name in "ab"]
    recording.add(1, pieces("a"))
    recording.end(BackendFailed("broken"))
    caught = []
    for reader in readers:
        await reader.wait_begun()
        assert (await anext(reader)).text == "a"
        with pytest.raises(BackendFailed) as raised:
            await anext(reader)
        caught.append(raised.value)

    assert caught[0] is not caught[1]


async def test_a_long_answer_lets_go_of_what_all_have_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by how far readers are apart, and not by the answer's length."""
    monkeypatch.setattr(recordings, "RETAINED_BYTES", 1000)
    recording = Recording(MODEL, 1, 1)
    reader = Reader(recording, RequestContext("a"))
    got = []
    for at in range(200):
        recording.add(1, pieces(f"{at},"))
        got.append((await anext(reader)).text)

    assert "".join(got) == "".join(f"{at}," for at in range(200))
    assert len(recording.pieces) < 20
    assert not recording.has_whole_text


async def test_who_reads_too_slowly_is_cut_off_and_the_others_read_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A caller that doesn't read holds up nobody, and keeps no more than the bound in memory."""
    monkeypatch.setattr(recordings, "RETAINED_BYTES", 1000)
    stopped: list[Recording] = []
    recording = Recording(MODEL, 1, 1, on_abandoned=stopped.append)
    slow, quick = (Reader(recording, RequestContext(name)) for name in "ab")
    got = ""
    for at in range(100):
        recording.add(1, pieces(f"{at},"))
        got += (await anext(quick)).text

    assert got == "".join(f"{at}," for at in range(100))
    with pytest.raises(ReadTooSlowly):
        await anext(slow)
    assert not stopped


async def test_an_answer_that_only_slow_ones_read_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would read what is still to come."""
    monkeypatch.setattr(recordings, "RETAINED_BYTES", 1000)
    stopped: list[Recording] = []
    recording = Recording(MODEL, 1, 1, on_abandoned=stopped.append)
    Reader(recording, RequestContext("a"))
    recording.add(1, pieces(*"abcdefghijklmnop"))

    assert stopped == [recording]


@pytest.mark.parametrize("found", [pieces("a", "", "🌳", ends=True), pieces("", ends=True)])
async def test_a_stored_answer_is_replayed_piece_by_piece(found: Sequence[Piece]) -> None:
    """A stream of it looks as it did."""
    logprobs = (TokenLogprob(5, "a", -0.5, (("a", -0.5), ("b", -1.0))),)
    written = Recording(MODEL, 1, 1)
    written.add(7, [found[0]._replace(logprobs=logprobs), *found[1:]])
    stored = from_bytes(to_bytes(written), MODEL, 1, 1)

    assert stored is not None
    reader = Reader(stored, RequestContext("a"))
    await reader.wait_begun()
    assert [piece async for piece in reader] == written.pieces
    assert reader.prompt_tokens == 7


def test_what_another_release_stored_is_no_answer() -> None:
    """Nor is half an answer."""
    half = Recording(MODEL, 1, 1)
    half.add(7, pieces("a"))

    assert from_bytes(b"garbage", MODEL, 1, 1) is None
    assert from_bytes(to_bytes(half), MODEL, 1, 1) is None
