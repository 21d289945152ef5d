"""
Text, or a pair of texts, to token ids as transformers makes them, with the true token count on the way.

Strategy: tokenize everything once without truncation, which gives the count; tokenize the few rows that are too
long a second time with truncation, which keeps the closing special tokens where cutting the ids would lose them.
A pair is truncated from its longer text first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer  # type: ignore[import-untyped]

Row = str | tuple[str, str]
"""What is tokenized together: a text, or a query and its document."""


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of a batch of texts, row by row."""

    ids: list[list[int]]
    """Token ids of each row, truncated to the model's limit, special tokens included."""

    type_ids: list[list[int]]
    """Segment of each token, as models with `token_type_ids` want it."""

    num_input_tokens: list[int]
    """Tokens of each row before truncation, special tokens included."""


class TextTokenizer:
    """The tokenizer of one published version."""

    def __init__(self, tokenizer_file: Path, max_input_tokens: int, truncation_side: str) -> None:
        # NOTE: a tokenizer.json carries its own truncation and padding (all-MiniLM-L6-v2's says 128 tokens,
        # fixed); the model's real limit is elsewhere, so both are overridden.
        self._whole = Tokenizer.from_file(str(tokenizer_file))
        self._whole.no_padding()
        self._whole.no_truncation()
        self._truncating = Tokenizer.from_file(str(tokenizer_file))
        self._truncating.no_padding()
        self._truncating.enable_truncation(
            max_input_tokens, strategy="longest_first", direction=truncation_side
        )
        self._max_input_tokens = max_input_tokens

    def tokenize(self, texts: Sequence[Row]) -> TokenizedTexts:
        """
        Tokenize a batch of texts or pairs.

        Args:
            texts: The rows, of any length; an empty one gives its special tokens.

        Returns:
            Their token ids and counts, in the same order.
        """
        encodings = self._whole.encode_batch_fast(list(texts))
        num_input_tokens = [len(encoding) for encoding in encodings]
        too_long = [row for row, count in enumerate(num_input_tokens) if count > self._max_input_tokens]
        if too_long:
            truncated = self._truncating.encode_batch_fast([texts[row] for row in too_long])
            for row, encoding in zip(too_long, truncated, strict=True):
                encodings[row] = encoding
        return TokenizedTexts(
            ids=[encoding.ids for encoding in encodings],
            type_ids=[encoding.type_ids for encoding in encodings],
            num_input_tokens=num_input_tokens,
        )
