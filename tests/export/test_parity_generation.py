"""Parity of generators: the toy passes, and a decoder that writes something else is caught."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.errors import ParityFailed
from export.local_decoder import LocalDecoder
from export.parity_generation import (
    NEW_TOKENS,
    Written,
    compare_generations,
    find_gap,
    make_prompts,
    mean_surprise,
)

if TYPE_CHECKING:
    from pathlib import Path

    from export.artifacts import Draft, SourceModel


def test_the_toy_writes_what_transformers_writes(chat_source: SourceModel, chat_draft: Draft) -> None:
    """Prompts of 1 to 700 tokens, more than there are rows; and the same draft as if of a lower precision."""
    report = compare_generations(chat_source, chat_draft, "fp32")

    assert report.measure == "greedy"
    assert report.points[0].max_tokens == 700
    assert report.figures["max_greedy_gap"] <= report.required["max_greedy_gap"]
    report = compare_generations(chat_source, chat_draft, "int8")
    assert report.figures["mean_next_token"] == pytest.approx(1.0, abs=0.01)
    assert report.figures["max_perplexity_ratio"] == pytest.approx(1.0, abs=1e-3)


def scale_a_weight(draft: Draft, factor: float) -> None:
    """Make another model of a draft: one layer's weights are multiplied."""
    model = onnx.load(str(draft.graph.path))
    weight = next(tensor for tensor in model.graph.initializer if "layers.2.mlp.down_proj" in tensor.name)
    array = numpy_helper.to_array(weight) * np.float32(factor)
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    for path in draft.graph.path.parent.glob("model.onnx*"):
        path.unlink()
    onnx.save(model, str(draft.graph.path))


def test_another_model_is_caught(chat_source: SourceModel, chat_draft: Draft) -> None:
    """In each precision, with the worst input."""
    scale_a_weight(chat_draft, 3.0)

    with pytest.raises(ParityFailed, match=r"(?s)logit by which.*The worst input is 'prompt of \d+ tokens"):
        compare_generations(chat_source, chat_draft, "fp32")
    with pytest.raises(ParityFailed, match="The worst input is"):
        compare_generations(chat_source, chat_draft, "int8")


def test_another_tokenizer_is_caught(chat_source: SourceModel, chat_draft: Draft) -> None:
    """Before any token is generated."""
    path = chat_draft.door_folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:100]
    path.write_text(json.dumps(tokenizer))

    with pytest.raises(ParityFailed, match="makes other tokens"):
        compare_generations(chat_source, chat_draft, "fp32")


def test_prompts_are_cut_to_what_fits(chat_draft: Draft) -> None:
    """A short context leaves the shorter ones, each once."""
    vocabulary = LocalDecoder(chat_draft.door_folder).vocabulary

    lengths = [len(prompt) for prompt in make_prompts(vocabulary, 64 - NEW_TOKENS)]

    assert lengths == [1, 2, 3, 16, 31, 40]


def test_the_gap_is_the_originals_own_preference() -> None:
    """Nothing for the same tokens, the logits' difference at the first other one, infinite for a longer text."""
    written = Written([3, 1], np.array([[0, 1, 2, 5.0], [0, 2.5, 2.25, 0]], dtype=np.float32))

    assert find_gap(written, [3, 1]) == 0
    assert find_gap(written, [3, 2]) == 0.25
    assert find_gap(written, [0, 1]) == 5
    assert find_gap(written, [3]) == float("inf")


def test_surprise_is_the_logarithm_of_perplexity() -> None:
    """Four equally likely tokens: perplexity 4."""
    logits = np.full((3, 4), 100.0, dtype=np.float32)

    assert np.exp(mean_surprise(logits, np.array([0, 1, 3]))) == pytest.approx(4.0)


def test_the_door_reads_and_writes_alike(chat_draft: Draft, tmp_path: Path) -> None:
    """Fed its own text, it expects each token that it wrote."""
    decoder = LocalDecoder(chat_draft.door_folder)
    prompt = decoder.vocabulary.encode("<s><|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    (written,) = decoder.write([prompt], 8)

    (logits,) = decoder.read([[*prompt, *written.token_ids]], len(prompt))

    assert logits.argmax(axis=1).tolist() == written.token_ids
