"""The texts to compare with: of every length around the model's limit, and those on which tokenizers differ."""

import random
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from export.errors import ParityFailed
from export.original import quiet
from export.parity import shown
from export.runtime.text_encoder.tokenizing import Row

BATCHES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("one word", (1,)),
    ("one sentence", (12,)),
    ("pair", (3, 40)),
    ("equal lengths", (16,) * 8),
    ("mixed lengths", (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144)),
    ("many mixed", tuple(1 + (7 * place) % 60 for place in range(32))),
)
"""Batches of random texts, by the number of words of each; over-long ones are added from the model's limit."""

SPECIAL_TEXTS = (
    "",
    " ",
    "  Leading, trailing and\tdouble  spaces \n",
    "ÀÉÎÕÜ straße ŒUVRE ﬁne i̇stanbul",
    "机器学习模型 の 埋め込み 한국어",
    "Привет, мир! שלום עולם مرحبا",
    "emoji 👩‍👩‍👧‍👦 flag 🇪🇺 rocket 🚀",
    "control \x00 and \u200b zero-width, non-breaking\u00a0space",
    "[CLS] [SEP] [MASK] <s> </s>",
    "x" * 3000,
    "1234567890 3.14e-7 https://example.org/a?b=c&d=%20",
)
"""Texts on which tokenizers differ when something is set up wrongly."""

_SEED = 20_240_917


def make_batches(tokenizer: PreTrainedTokenizerBase, max_input_tokens: int) -> list[tuple[str, list[str]]]:
    """
    Make the texts to compare, the same ones each time.

    Args:
        tokenizer: The original's, whose vocabulary gives the words.

        max_input_tokens: Tokens after which it truncates.

    Returns:
        Batches with their labels.
    """
    vocabulary = tokenizer.get_vocab()
    special = set(tokenizer.all_special_tokens)
    stripped = {token.lstrip("#▁Ġ") for token in vocabulary if token not in special}
    words = sorted(token for token in stripped if token.isalpha()) or ["word"]
    chooser = random.Random(_SEED)  # noqa: S311 - reproducible texts, no secret

    def text_of(word_count: int) -> str:
        return " ".join(chooser.choices(words, k=word_count))

    batches = [(label, [text_of(count) for count in counts]) for label, counts in BATCHES]
    at_limit = [max_input_tokens - 3, max_input_tokens - 2, max_input_tokens - 1, max_input_tokens]
    beyond = [max_input_tokens + 1, 2 * max_input_tokens, 3]
    batches.append(("around the limit", [text_of(max(1, count)) for count in at_limit]))
    batches.append(("over-long and short", [text_of(count) for count in beyond]))
    batches.append(("special texts", list(SPECIAL_TEXTS)))
    batches.append(("over-long alone", [text_of(3 * max_input_tokens)]))
    return batches


def check_counts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[Row], counts: Sequence[int]) -> None:
    """
    Compare the door's token counts with the original's.

    Args:
        tokenizer: The original's.

        texts: The texts, or pairs of them.

        counts: Tokens that the door counted in each, before truncation.

    Raises:
        ParityFailed: If one differs, naming the text.
    """
    with quiet():
        # verbose=False: a text beyond the limit is what this asks for, not worth a warning.
        expected = tokenizer(list(texts), truncation=False, padding=False, verbose=False)["input_ids"]
    for text, count, ids in zip(texts, counts, expected, strict=True):
        if count != len(ids):
            told = shown(text if isinstance(text, str) else " + ".join(text))
            raise ParityFailed(f"The door counts {count} tokens and the original {len(ids)} in {told}.")
