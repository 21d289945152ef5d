"""
Texts to send: unique, of known lengths, the same again for the same seed.

Words are whole words of the model's own vocabulary, so a text of n words has n tokens and two special ones, and what
is sent is a function of the seed alone. Lengths and words are drawn apart: contenders of one round get the same
lengths in the same order, and never the same text, so that no cache can help one of them.
"""

from __future__ import annotations

import json
import math
import random
import re
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WORD = re.compile(r"[a-z]{3,12}")
"""What counts as a word: no pieces (##ing), no single letters."""


@dataclass(frozen=True)
class LogNormal:
    """Lengths in words, log-normal, drawn again while outside of the bounds."""

    median: float
    """Words of the median text."""

    sigma: float
    """Standard deviation of the logarithm; 0 makes all texts of the median length."""

    least: int
    """Fewest words."""

    most: int
    """Most words."""

    def draw(self, source: random.Random) -> int:
        """
        Draw one length.

        Args:
            source: Where randomness comes from.

        Returns:
            A number of words.
        """
        while True:
            words = round(math.exp(source.gauss(math.log(self.median), self.sigma)))
            if self.least <= words <= self.most:
                return words


TRAFFIC = {
    # 16 tokens with the two special ones.
    "short": LogNormal(median=14, sigma=0, least=14, most=14),
    # Mean 27 words, so 29 tokens; one text in a hundred is longer than 130 words.
    "log-normal": LogNormal(median=18, sigma=0.9, least=3, most=200),
}
"""Kinds of traffic by name, none of which repeats a text."""

ZIPF = "zipf"
"""Short texts that are repeated: the text of rank r comes r times less often than the first."""

ZIPF_TEXTS = 10_000
"""Different ones among them."""


def read_words(tokenizer_file: Path) -> list[str]:
    """
    Read whole words out of a tokenizer's vocabulary.

    Args:
        tokenizer_file: A tokenizer.json with a WordPiece vocabulary.

    Returns:
        Its words, sorted.
    """
    vocabulary = json.loads(tokenizer_file.read_text(encoding="utf-8"))["model"]["vocab"]
    return sorted(word for word in vocabulary if WORD.fullmatch(word))


def make_texts(words: Sequence[str], traffic: str, seed: str, contender: str) -> Iterator[str]:
    """
    Make texts without end, no two alike but for `ZIPF` traffic.

    Args:
        words: What they are made of.

        traffic: A name in `TRAFFIC`, or `ZIPF`.

        seed: Fixes the lengths, in order.

        contender: Fixes, with *seed*, the words.

    Yields:
        One text at a time.
    """
    if traffic == ZIPF:
        yield from _repeat_texts(words, seed, contender)
    lengths = random.Random(f"{seed} lengths")
    source = random.Random(f"{seed} words of {contender}")
    seen: set[str] = set()
    while True:
        count = TRAFFIC[traffic].draw(lengths)
        text = " ".join(source.choices(words, k=count))
        while text in seen:
            text = " ".join(source.choices(words, k=count))
        seen.add(text)
        yield text


def _repeat_texts(words: Sequence[str], seed: str, contender: str) -> Iterator[str]:
    pool = list(islice(make_texts(words, "short", seed, contender), ZIPF_TEXTS))
    cumulated = list(accumulate(1 / rank for rank in range(1, ZIPF_TEXTS + 1)))
    source = random.Random(f"{seed} ranks")
    while True:
        yield from source.choices(pool, cum_weights=cumulated, k=1_000)
