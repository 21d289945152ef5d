"""How many rows of which length fit the budget."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.artifacts import Graph, TensorSpec
from export.decoder_sizes import (
    KV_MEMORY_BYTES,
    MIN_SLOTS,
    SLOTS,
    SPARE_SLOTS,
    kv_bytes_per_token,
    size_decoder,
)
from export.errors import BadInput


def graph_of(layers: int, kv_heads: int, head_dim: int) -> Graph:
    """Describe a decoder."""
    caches = [
        TensorSpec(f"past_key_values.{layer}.{part}", "FP32", (kv_heads, -1, head_dim))
        for layer in range(layers)
        for part in ("key", "value")
    ]
    ids = TensorSpec("input_ids", "INT64", (-1,))
    return Graph(Path("model.onnx"), (ids, *caches), "logits", 1000, 21)


def test_a_small_model_gets_all_rows() -> None:
    """And its whole context."""
    sizes = size_decoder(graph_of(4, 5, 32), 1024, 2, None)

    assert (sizes.slots, sizes.max_model_len, sizes.threads) == (SLOTS, 1024, 2)


def test_rows_get_fewer_before_they_get_shorter() -> None:
    """A model of half a billion parameters (24 layers, 2 heads of 64) reads 4,096 tokens in 20 rows."""
    graph = graph_of(24, 2, 64)
    sizes = size_decoder(graph, 32_768, 2, None)

    assert sizes.max_model_len == 4096
    assert MIN_SLOTS < sizes.slots < SLOTS
    assert size_decoder(graph_of(32, 32, 128), 4096, 2, None).max_model_len < 4096


def test_a_length_that_is_asked_for_is_kept() -> None:
    """With as many rows as fit."""
    assert size_decoder(graph_of(24, 2, 64), 32_768, 2, 16_384).max_model_len == 16_384


@pytest.mark.parametrize(
    ("context_tokens", "asked", "words"),
    [
        (1024, 2048, "beyond the model's context of 1024"),
        (8, None, "too short"),
        (10**6, 10**6, "GiB are planned"),
    ],
)
def test_what_can_not_be_is_refused(context_tokens: int, asked: int | None, words: str) -> None:
    """In a sentence with the numbers."""
    with pytest.raises(BadInput, match=words):
        size_decoder(graph_of(24, 2, 64), context_tokens, 2, asked)


@given(
    layers=st.integers(1, 100),
    kv_heads=st.integers(1, 64),
    head_dim=st.sampled_from([32, 64, 128, 256]),
    context_tokens=st.integers(16, 200_000),
)
def test_the_budget_always_holds(layers: int, kv_heads: int, head_dim: int, context_tokens: int) -> None:
    """Or the model is refused."""
    graph = graph_of(layers, kv_heads, head_dim)
    try:
        sizes = size_decoder(graph, context_tokens, 2, None)
    except BadInput:
        return
    rows = sizes.slots + SPARE_SLOTS
    assert rows * sizes.max_model_len * kv_bytes_per_token(graph) <= KV_MEMORY_BYTES
    assert sizes.max_model_len <= context_tokens
    assert 1 <= sizes.prefill_chunk <= sizes.max_model_len
