"""Items to tensors and back, for each task."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.errors import BackendFailed
from facade.inference.contracts import CONTRACTS, Answer, pack_pair, unpack_pair
from facade.triton.interface import Tensor


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_a_pair_comes_back_as_it_was(query: bytes, document: bytes) -> None:
    """Whatever bytes there are, the border between the two is kept."""
    assert unpack_pair(pack_pair(query, document)) == (query, document)


def test_an_answer_comes_back_as_it_was() -> None:
    """The cache gives back what was put in."""
    answer = Answer(b"\0\0\x80?", 7)

    assert Answer.from_bytes(answer.to_bytes()) == answer


def test_reranking_sends_two_inputs() -> None:
    """Queries and documents stand in the same rows."""
    items = [pack_pair(b"q1", b"d1"), pack_pair(b"q2", b"other")]

    query, document = CONTRACTS["reranking"].to_inputs(items)

    assert (query.name, query.shape) == ("query", (2, 1))
    assert query.raw == b"\2\0\0\0q1\2\0\0\0q2"
    assert (document.name, document.raw) == ("document", b"\2\0\0\0d1\5\0\0\0other")


def test_rows_belong_to_their_items() -> None:
    """Each item gets its own scores and its own count."""
    scores = Tensor("scores", "FP32", (2, 2), struct.pack("<4f", 0.1, 0.9, 0.7, 0.3))
    counts = Tensor("num_input_tokens", "UINT32", (2, 1), struct.pack("<2I", 5, 6))

    answers = CONTRACTS["text-classification"].read("m", {"scores": scores, "num_input_tokens": counts}, 2)

    first, second = map(Answer.from_bytes, answers)
    assert struct.unpack("<2f", second.values) == pytest.approx((0.7, 0.3))
    assert (first.num_input_tokens, second.num_input_tokens) == (5, 6)


def test_images_have_no_tokens() -> None:
    """Only the scores are asked for."""
    contract = CONTRACTS["image-classification"]
    scores = Tensor("scores", "FP32", (1, 2), bytes(8))

    (answer,) = contract.read("m", {"scores": scores}, 1)

    assert contract.outputs == ("scores",)
    assert Answer.from_bytes(answer).num_input_tokens == 0


@pytest.mark.parametrize(
    "outputs",
    [
        {},
        {"score": Tensor("score", "FP32", (2, 1), bytes(8))},
        {
            "score": Tensor("score", "FP32", (1, 1), bytes(4)),
            "num_input_tokens": Tensor("num_input_tokens", "UINT32", (2, 1), bytes(8)),
        },
        {
            "score": Tensor("score", "FP32", (2, 0), b""),
            "num_input_tokens": Tensor("num_input_tokens", "UINT32", (2, 1), bytes(8)),
        },
    ],
)
def test_tensors_without_a_row_an_item_are_a_failure(outputs: dict[str, Tensor]) -> None:
    """Nobody gets a neighbour's numbers."""
    with pytest.raises(BackendFailed, match="tensor contract"):
        CONTRACTS["reranking"].read("m", outputs, 2)
