"""Token ids and counts as the original's tokenizer gives them."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from export.artifacts import SourceModel
from export.original import load_original
from export.runtime.text_encoder.tokenizing import TextTokenizer
from tests.export.tiny_model import MAX_TOKENS

PAIRS = [("cat", "the mat"), ("", ""), ("cat " * 40, "mat"), ("cat", "mat " * 40), ("cat " * 40, "mat " * 30)]
TEXTS = ["", "the cat", "the cat sat " * 30, "Ünïcode 世界 \x00", "the mat"]


@pytest.fixture
def tokenizer(tiny_model: Path) -> TextTokenizer:
    """The tiny model's tokenizer, as the door loads it."""
    return TextTokenizer(tiny_model / "tokenizer.json", MAX_TOKENS, "right")


def test_ids_are_the_originals(tokenizer: TextTokenizer, source: SourceModel) -> None:
    """Every row has the ids that sentence-transformers would give the model, truncated ones included."""
    original = load_original(source).tokenizer
    expected = original(TEXTS, truncation=True, max_length=MAX_TOKENS, padding=False)
    tokenized = tokenizer.tokenize(TEXTS)
    assert tokenized.ids == expected["input_ids"]
    assert tokenized.type_ids == [[0] * len(ids) for ids in tokenized.ids]


def test_the_count_is_taken_before_truncation(tokenizer: TextTokenizer) -> None:
    """An over-long text reports all its tokens and keeps its closing special token."""
    tokenized = tokenizer.tokenize(TEXTS)
    assert tokenized.num_input_tokens[2] > MAX_TOKENS
    assert len(tokenized.ids[2]) == MAX_TOKENS
    assert tokenized.ids[2][-1] == tokenized.ids[1][-1]


def test_an_empty_text_has_its_special_tokens(tokenizer: TextTokenizer) -> None:
    """An empty string is two tokens long, not an error."""
    assert tokenizer.tokenize([""]).num_input_tokens == [2]


def test_the_files_own_padding_is_overridden(tokenizer: TextTokenizer) -> None:
    """The tokenizer file's truncation to 8 and padding to 8 don't reach the door."""
    assert [len(ids) for ids in tokenizer.tokenize(["the cat", "the cat sat on the mat the cat"]).ids] == [
        4,
        10,
    ]


@pytest.mark.parametrize("side", ["right", "left"])
def test_pairs_are_cut_as_the_original_cuts_them(tiny_model: Path, side: str) -> None:
    """Pairs get the ids and segments of transformers' tokenizer; the longer text loses first, at the model's side."""
    original = AutoTokenizer.from_pretrained(tiny_model, truncation_side=side)
    expected = original(PAIRS, truncation="longest_first", max_length=MAX_TOKENS, padding=False)
    tokenized = TextTokenizer(tiny_model / "tokenizer.json", MAX_TOKENS, side).tokenize(PAIRS)
    assert tokenized.ids == expected["input_ids"]
    assert tokenized.type_ids == expected["token_type_ids"]
    whole = original(PAIRS, verbose=False)["input_ids"]
    assert tokenized.num_input_tokens == [len(ids) for ids in whole]
