"""The real graph: rows of any length, prompts in chunks, and the very tokens that transformers chooses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from export.runtime.decoder.choices import Choice
from export.runtime.decoder.detokenizing import Vocabulary
from export.runtime.decoder.engine import Engine, EngineLimits, Request
from export.runtime.decoder.graph import (
    GraphSettings,
    GraphUnusable,
    OnnxGraph,
    check_memory,
    read_graph_settings,
)
from export.runtime.decoder.parameters import Parameters
from export.runtime.decoder.sampling import Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

LENGTHS = (1, 2, 15, 127, 128, 129, 256, 257, 300, 700)
"""Prompts in tokens: around the borders of chunks, and as long as the export's own check."""

NEW_TOKENS = 24


@pytest.fixture(scope="module")
def settings(tiny_decoder: Path) -> dict[str, Any]:
    """Read the small decoder's settings."""
    return dict(json.loads((tiny_decoder / "decoder.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def graph(tiny_decoder: Path, settings: dict[str, Any]) -> OnnxGraph:
    """Load the small decoder's graph."""
    return OnnxGraph(tiny_decoder / "model.onnx", read_graph_settings(settings))


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    """Make a prompt of each length."""
    chance = np.random.default_rng(5)
    return [chance.integers(2, 512, size=length).tolist() for length in LENGTHS]


@pytest.fixture(scope="module")
def answers(tiny_llama: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Ask transformers for the greedy answer to each prompt, one at a time."""
    import torch  # noqa: PLC0415 - ten seconds that the tests without it shouldn't wait for
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    model = LlamaForCausalLM.from_pretrained(tiny_llama)
    found = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        whole = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
            eos_token_id=None,
        )
        found.append(whole[0, len(prompt) :].tolist())
    return found


def ask(
    graph: OnnxGraph, tiny_llama: Path, prompts: Sequence[Sequence[int]], slots: int = 8
) -> tuple[list[list[int]], Engine]:
    """Let an engine answer prompts together."""
    vocabulary = Vocabulary(tiny_llama / "tokenizer.json")
    engine = Engine(graph, Sampler(512), EngineLimits(slots, 128, 100))
    parameters = Parameters(temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True)
    choices = []
    for number, prompt in enumerate(prompts):
        choices.append(Choice(number, 0, parameters, list(prompt), vocabulary=vocabulary, eos_token_ids=[1]))
        engine.submit(Request(number, list(prompt), parameters, choices[-1:]))
    while engine.has_work:
        assert all(event.error is None for event in engine.step())
    return [choice.token_ids for choice in choices], engine


@pytest.mark.parametrize("slots", [1, 2, 8])
def test_greedy_answers_are_transformers(
    graph: OnnxGraph, tiny_llama: Path, prompts: list[list[int]], answers: list[list[int]], slots: int
) -> None:
    """Prompts of 1 to 700 tokens, mixed in any number of slots, get the tokens that transformers chooses for each."""
    found, _ = ask(graph, tiny_llama, prompts, slots)
    assert found == answers
    assert len({tuple(answer) for answer in answers}) == len(answers)


def test_answers_from_the_prefix_cache_are_transformers(
    graph: OnnxGraph, tiny_llama: Path, prompts: list[list[int]], answers: list[list[int]]
) -> None:
    """Prompts that are asked again are answered from what the rows hold, with the same tokens."""
    places = [LENGTHS.index(length) for length in (300, 700, 257, 129, 128)] * 3
    found, engine = ask(graph, tiny_llama, [prompts[place] for place in places])
    assert found == [answers[place] for place in places]
    assert engine.prefix_hit_tokens >= 2 * (256 + 640 + 256 + 128)


def read_prompt(graph: OnnxGraph, row: int, prompt: Sequence[int], start: int = 0) -> npt.NDArray[np.float32]:
    """Read a prompt in chunks; return the logits after it."""
    logits = None
    for begin in range(start, len(prompt), 128):
        logits = graph.prefill(row, begin, prompt[begin : begin + 128]).copy()
    assert logits is not None
    return logits


def test_shared_beginning_gives_the_same_bits(graph: OnnxGraph) -> None:
    """Logits after a beginning that another row had read are those of reading it all, bit for bit."""
    chance = np.random.default_rng(6)
    shared = chance.integers(2, 512, size=512).tolist()
    first, second = [*shared, 7, 8, 9], [*shared, *chance.integers(2, 512, size=150).tolist()]
    whole = read_prompt(graph, 0, second)
    read_prompt(graph, 1, first)
    graph.copy_row(1, 2, 512)
    assert np.array_equal(read_prompt(graph, 2, second, start=512), whole)


def test_row_does_not_depend_on_its_place_or_what_it_held(graph: OnnxGraph) -> None:
    """A prompt gives the same bits in any row, whatever the row held before."""
    prompt = np.random.default_rng(7).integers(2, 512, size=200).tolist()
    found = [read_prompt(graph, row, prompt) for row in (0, 3, 8, 3)]
    assert all(np.array_equal(logits, found[0]) for logits in found)


def test_neighbours_do_not_change_a_row(graph: OnnxGraph) -> None:
    """A row that decodes beside rows of other lengths gets the logits that it gets beside none, within rounding."""
    prompts = [
        np.random.default_rng(length).integers(2, 512, size=length).tolist() for length in (40, 3, 500)
    ]
    for row, prompt in enumerate(prompts):
        read_prompt(graph, row, prompt)
    alone = graph.decode([11], [40]).copy()
    together = graph.decode([11, 12, 13], [len(prompt) for prompt in prompts])
    np.testing.assert_allclose(together[:1], alone, rtol=0, atol=2e-4)


def test_prompts_read_together_are_those_read_alone(graph: OnnxGraph) -> None:
    """Prompts of any lengths that are read in one call leave the rows as if each had been read alone."""
    chance = np.random.default_rng(8)
    prompts = [chance.integers(2, 512, size=length).tolist() for length in (9, 16, 1, 16)]
    lengths = [len(prompt) for prompt in prompts]
    alone = [graph.prefill(row, 0, prompt).copy() for row, prompt in enumerate(prompts)]
    expected = graph.decode([7, 8, 9, 10], lengths).copy()
    for row in range(4):
        graph.prefill(row, 0, [5] * 20)
    together = graph.prefill_together(0, prompts).copy()
    for row in (1, 3):
        np.testing.assert_allclose(together[row], alone[row][0], rtol=0, atol=2e-4)
    np.testing.assert_allclose(graph.decode([7, 8, 9, 10], lengths), expected, rtol=0, atol=2e-4)


def make_settings(**changes: int) -> GraphSettings:
    """Make settings of a decoder whose rows take 2 MiB each."""
    wanted = {
        "layers": 4,
        "kv_heads": 4,
        "head_dim": 64,
        "vocab_size": 100,
        "max_model_len": 256,
        "slots": 7,
        "kv_memory_bytes": 16 * 2**20,
        "threads": 1,
        **changes,
    }
    return GraphSettings(**wanted)


def test_memory_within_its_budget_is_taken() -> None:
    """Rows that take their budget to the last byte are allowed."""
    check_memory(make_settings())


def test_memory_beyond_its_budget_is_refused_with_the_sum() -> None:
    """Rows that don't fit are refused in words that say the sum and three ways out, each of which works."""
    with pytest.raises(GraphUnusable) as caught:
        check_memory(make_settings(slots=15))
    assert str(caught.value) == (
        "Keys and values need 32 MiB (4 layers x 2 x 16 rows x 4 heads x 256 tokens x 64 x 4 bytes), and "
        "kv_memory_bytes allows 16 MiB. In decoder.json, set slots to 7, or max_model_len to 128, or "
        "kv_memory_bytes to 33554432."
    )
    check_memory(make_settings(slots=15, max_model_len=128))
    check_memory(make_settings(slots=15, kv_memory_bytes=33554432))


def test_missing_settings_are_named(settings: dict[str, Any]) -> None:
    """A decoder.json without a setting that the graph needs is refused by the setting's name."""
    del (broken := dict(settings))["kv_heads"]
    with pytest.raises(GraphUnusable, match=r"decoder\.json lacks kv_heads"):
        read_graph_settings(broken)
    with pytest.raises(GraphUnusable, match=r"kv_dtype 'int3'"):
        read_graph_settings({**settings, "kv_dtype": "int3"})


def test_unknown_graph_is_refused(tiny_decoder: Path, settings: dict[str, Any]) -> None:
    """A graph with other layers than decoder.json tells of is refused, naming where they differ."""
    with pytest.raises(GraphUnusable, match=r"differ in past_key_values\.2\.key"):
        OnnxGraph(tiny_decoder / "model.onnx", read_graph_settings({**settings, "layers": 3}))


def test_unreadable_graph_is_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    """A file that is no graph is refused in words."""
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    with pytest.raises(GraphUnusable, match=r"model\.onnx can't be loaded"):
        OnnxGraph(tmp_path / "model.onnx", read_graph_settings(settings))
