"""Rows for prompts and answers: none is given twice, and what is overwritten is saved if it matters."""

from __future__ import annotations

import pytest

from export.runtime.decoder.prefix import PrefixCache
from export.runtime.decoder.slots import Reading, Slots
from tests.export.runtime.decoder.fake_graph import FakeGraph


def make_slots(slots: int = 3) -> tuple[Slots, FakeGraph, PrefixCache]:
    """Make slots with blocks of two tokens."""
    graph = FakeGraph(slots + 1)
    cache = PrefixCache(slots + 1, 2)
    return Slots(graph, slots, cache), graph, cache


def read(slots: Slots, graph: FakeGraph, cache: PrefixCache, prompt: list[int], count: int = 1) -> Reading:
    """Read a whole prompt."""
    assert slots.reserve(count)
    reading = Reading(cache.name_blocks(prompt), count)
    row, _ = slots.place(reading)
    graph.prefill(row, reading.read, prompt[reading.read :])
    slots.advance(reading, len(prompt) - reading.read)
    return reading


def test_reserved_rows_are_not_given_again() -> None:
    """Rows that a prompt's answers will need are nobody else's, and free again once it is given up."""
    slots, _, _ = make_slots(3)
    assert slots.reserve(2)
    assert not slots.reserve(2)
    slots.release(Reading((), 2))
    assert slots.reserve(3)


def test_spare_row_is_needed() -> None:
    """A graph with no row to spare is refused."""
    with pytest.raises(ValueError, match=r"3 slots need a graph with 4 rows, not 3"):
        Slots(FakeGraph(3), 3, PrefixCache(3, 2))


def test_prompt_in_the_way_moves() -> None:
    """A prompt that is being read where another's answers must go is moved with what it has."""
    slots, graph, _cache = make_slots(3)
    first, second = [Reading((), 1), Reading((), 2)]
    assert slots.reserve(1)
    assert slots.reserve(2)
    for reading, prompt in ((first, [5, 6, 7]), (second, [8, 9])):
        row, _ = slots.place(reading)
        graph.prefill(row, 0, prompt)
        slots.advance(reading, len(prompt))
    slots.start(second, 2)
    assert [graph.held[row][:2] for row in range(2)] == [[8, 9], [8, 9]]
    assert first.row is not None
    assert first.row >= slots.running
    assert graph.held[first.row][:3] == [5, 6, 7]


def test_last_row_fills_the_hole() -> None:
    """A row that ends is replaced by the last one."""
    slots, graph, cache = make_slots(3)
    for prompt in ([5, 5], [6, 6], [7, 7]):
        slots.start(read(slots, graph, cache, prompt), 1)
    slots.retire(0, 2)
    assert slots.running == 2
    assert graph.held[0][:2] == [7, 7]


def test_known_beginning_is_saved_before_it_is_overwritten() -> None:
    """The beginning that a finished row held alone is still found after another row took its place."""
    slots, graph, cache = make_slots(3)
    prompts = [[5, 5, 5], [6, 6, 6]]
    for prompt in prompts:
        slots.start(read(slots, graph, cache, prompt), 1)
    slots.retire(0, 3)
    for prompt in prompts:
        found = cache.find(cache.name_blocks(prompt))
        assert found is not None
        assert graph.held[found.row][:2] == prompt[:2]


def test_known_beginning_is_gone_on_with_in_place() -> None:
    """A free row that holds just a prompt's beginning is gone on with, not copied."""
    slots, graph, cache = make_slots(3)
    slots.start(read(slots, graph, cache, [5, 5, 5]), 1)
    slots.retire(0, 3)
    reading = Reading(cache.name_blocks([5, 5, 8]), 1)
    slots.reserve(1)
    assert slots.place(reading) == (0, 2)
    assert graph.copies == 0
