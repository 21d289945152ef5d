"""
What the toy learns from, as token ids: dialogues within its world, and the documentation of Python.

The documentation is CPython's own `pydoc_data.topics` (PSF licence), which comes with every Python.
"""

from __future__ import annotations

import json
import random
import re
from pydoc_data.topics import topics
from typing import TYPE_CHECKING, Any, NamedTuple

from deploy.local.tiny_chat.dialogues import Message, make_dialogue
from deploy.local.tiny_chat.wording import BOS, END, EOS, START

if TYPE_CHECKING:
    from collections.abc import Iterator

PROMPT_WEIGHT, TEXT_WEIGHT = 0.1, 0.3
"""How much a token counts that callers write, or the documentation; one that the assistant writes counts 1."""


class Row(NamedTuple):
    """One row of training."""

    ids: list[int]
    """Token ids, exactly as many as were asked for."""

    weights: list[float]
    """How much predicting each of them counts."""


class Corpus:
    """An endless source of rows, the same ones for the same seed."""

    def __init__(self, tokenizer: Any, seed: int) -> None:
        """
        Tokenize the documentation.

        Args:
            tokenizer: The transformers tokenizer, with its chat template.

            seed: Of all choices.
        """
        self._tokenizer = tokenizer
        self._chooser = random.Random(seed)  # noqa: S311 - texts to learn from, no secret
        self._words = find_words()
        self._pages = [self._ids(page) for page in read_documentation()]
        self._dialogues = self._dialogue_ids()
        self._left = Row([], [])

    def dialogue_row(self, length: int) -> Row:
        """
        Fill a row with dialogues, one after the other; what does not fit begins the next row.

        Args:
            length: Tokens.

        Returns:
            The row.
        """
        while len(self._left.ids) < length:
            ids, weights = next(self._dialogues)
            self._left.ids.extend(ids)
            self._left.weights.extend(weights)
        row = Row(self._left.ids[:length], self._left.weights[:length])
        self._left = Row(self._left.ids[length:], self._left.weights[length:])
        return row

    def text_row(self, length: int) -> Row:
        """
        Cut a row out of the documentation.

        Args:
            length: Tokens.

        Returns:
            The row: whole pages, and the beginning of a last one.
        """
        ids: list[int] = []
        while len(ids) < length:
            page = self._chooser.choice(self._pages)
            start = self._chooser.choice((0, self._chooser.randrange(len(page))))
            ids += page[start : start + length]
        return Row(ids[:length], [TEXT_WEIGHT] * length)

    def long_row(self, length: int) -> Row:
        """
        Put dialogues behind a long system prompt, so that far positions are known too.

        Args:
            length: Tokens.

        Returns:
            The row: a piece of documentation as system prompt, then dialogues.
        """
        page = self._chooser.choice(self._pages)
        page = page[: self._chooser.randrange(length // 4, 3 * length // 4)]
        head = [*self._ids(f"{BOS}{START}system\n"), *page, *self._ids(f"{END}\n")]
        dialogues = self.dialogue_row(length - len(head))
        return Row(head + dialogues.ids, [TEXT_WEIGHT] * len(head) + dialogues.weights)

    def _dialogue_ids(self) -> Iterator[Row]:
        while True:
            messages, tools = make_dialogue(self._chooser, self._words)
            yield weigh_dialogue(self._tokenizer, messages, tools)

    def _ids(self, text: str) -> list[int]:
        return encode(self._tokenizer, text)


def weigh_dialogue(tokenizer: Any, messages: list[Message], tools: list[Message]) -> Row:
    """
    Turn a dialogue into token ids, and find what the assistant says in it.

    Args:
        tokenizer: The transformers tokenizer, with its chat template.

        messages: The messages.

        tools: The tools that go with them.

    Returns:
        The ids, and `PROMPT_WEIGHT` for all but what an assistant would have to write.
    """
    text = tokenizer.apply_chat_template(messages, tools=tools or None, tokenize=False)
    ids: list[int] = []
    weights: list[float] = []
    # Split where generation starts and stops, so that a token never lies across that border.
    for place, part in enumerate(
        re.split(rf"(?<=<\|im_start\|>assistant\n)(.*?{re.escape(END)})", text, flags=re.DOTALL)
    ):
        found = encode(tokenizer, part)
        ids += found
        weights += [1.0 if place % 2 else PROMPT_WEIGHT] * len(found)
    return Row(ids, weights)


def encode(tokenizer: Any, text: str) -> list[int]:
    """
    Turn text into token ids, special tokens by their names and none added.

    Args:
        tokenizer: The transformers tokenizer.

        text: The text.

    Returns:
        The ids.
    """
    # The bare tokenizer: transformers' warns of texts beyond the context, which are cut later.
    return list(tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids)


def read_documentation() -> list[str]:
    """
    Read the pages of Python's documentation of itself.

    Returns:
        The pages, each with a start token and an end token.
    """
    return [f"{BOS}{topics[name].strip()}{EOS}" for name in sorted(topics)]


def find_words() -> list[str]:
    """
    Find ordinary words in the documentation.

    Returns:
        The words, in order.
    """
    return sorted({word for page in topics.values() for word in re.findall(r"\b[a-z]{4,12}\b", page)})


def texts_for_tokenizer(seed: int, count: int) -> Iterator[str]:
    """
    Make what the tokenizer learns from: the documentation, and dialogues.

    Args:
        seed: Of the dialogues.

        count: How many dialogues.

    Yields:
        One text at a time.
    """
    chooser = random.Random(seed)  # noqa: S311 - texts to learn from, no secret
    words = find_words()
    yield from topics.values()
    for _ in range(count):
        messages, tools = make_dialogue(chooser, words)
        yield from (message["content"] for message in messages)
        yield from (json.dumps(tool) for tool in tools)
