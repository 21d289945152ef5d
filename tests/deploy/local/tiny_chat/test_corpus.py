"""What the toy learns from: rows of the right length, and weight on what an assistant has to write."""

from __future__ import annotations

import random
from typing import Any

import pytest
from transformers import AutoTokenizer

from deploy.local.model import CHAT_FOLDER
from deploy.local.tiny_chat.corpus import Corpus, find_words, weigh_dialogue
from deploy.local.tiny_chat.dialogues import make_dialogue


@pytest.fixture(name="tokenizer", scope="module")
def _tokenizer() -> Any:
    """The shipped tokenizer."""
    return AutoTokenizer.from_pretrained(CHAT_FOLDER)


def test_only_what_the_assistant_writes_counts_whole(tokenizer: Any) -> None:
    """Its words and the token that ends its turn."""
    messages = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi!"}]

    row = weigh_dialogue(tokenizer, messages, [])

    written = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight == 1]
    assert tokenizer.decode(written) == "Hi!<|im_end|>"
    assert tokenizer.decode(row.ids) == tokenizer.apply_chat_template(messages, tokenize=False)


def test_rows_are_as_long_as_asked(tokenizer: Any) -> None:
    """Of each kind."""
    corpus = Corpus(tokenizer, seed=1)

    for row in (corpus.dialogue_row(100), corpus.text_row(300), corpus.long_row(1024)):
        assert len(row.ids) == len(row.weights)
    assert (len(corpus.dialogue_row(7).ids), len(corpus.long_row(600).ids)) == (7, 600)


def test_the_same_seed_gives_the_same_rows(tokenizer: Any) -> None:
    """Another one gives others."""
    rows = [Corpus(tokenizer, seed).dialogue_row(200).ids for seed in (1, 1, 2)]

    assert rows[0] == rows[1]
    assert rows[0] != rows[2]


def test_dialogues_alternate_and_stay_in_the_world() -> None:
    """A question, an answer; tools are called by name and answered."""
    chooser = random.Random(3)
    words = find_words()
    roles = set()
    for _ in range(300):
        messages, tools = make_dialogue(chooser, words)
        spoken = [message["role"] for message in messages if message["role"] != "system"]
        assert spoken[0::2] == [role for role in spoken[0::2] if role in {"user", "tool"}]
        assert set(spoken[1::2]) == {"assistant"}
        assert bool(tools) == any("tool_calls" in message for message in messages)
        roles |= {message["role"] for message in messages}
    assert roles == {"system", "user", "assistant", "tool"}
