"""
Token ids to text, as they come: never half a character, never a space too few.

A token's text depends on its neighbours: a character may take several tokens, SentencePiece drops the space before
the first one. So a window of the last tokens is decoded with and without the new one, and what the text grew by is
given out once it is whole. The window begins with the prompt's last tokens: the answer goes on where it ends.

Rule for later editors: the pieces joined are the text of prompt and answer less the prompt's. The one exception is a
run of byte tokens that is not UTF-8: how many U+FFFD it becomes is only known at its end, so there may be more.
"""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from tokenizers import Tokenizer  # type: ignore[import-untyped]

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
"""What decoders give for bytes that are no character, or not yet."""

CONTEXT_TOKENS = 6
"""Tokens of the prompt that the window begins with. vLLM takes 5 (`INITIAL_INCREMENTAL_DETOKENIZATION_OFFSET`)."""

MAX_CHARACTER_BYTES = 4
"""Most bytes, and so most tokens, of a character in UTF-8."""

MAX_HELD_TOKENS = 64
"""Tokens without a whole character after which they are given out as they are. That is no text, and a
window that grew with it would cost more for every token."""


class Vocabulary:
    """The tokenizer of one published version: text to ids for prompts, ids to text for answers."""

    def __init__(self, tokenizer_file: Path, bos_token_id: int | None = None) -> None:
        # NOTE: a tokenizer.json carries its own truncation and padding, which are for training batches.
        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._bos_text: str = "" if bos_token_id is None else self._tokenizer.id_to_token(bos_token_id) or ""
        added = self._tokenizer.get_added_tokens_decoder()
        self.special_ids = frozenset(token_id for token_id, token in added.items() if token.special)
        """Ids of control tokens, which a reader doesn't want to see."""
        self._known_ids = frozenset(self._tokenizer.get_vocab(with_added_tokens=True).values())
        self.token_text = lru_cache(maxsize=65536)(self._token_text)
        """Text of one token alone, as log probabilities name it; half a character is U+FFFD."""

    def encode(self, text: str) -> list[int]:
        """
        Tokenize a prompt.

        Args:
            text: The prompt. One that begins with the text of the BOS token, as chat templates write it, does not
                get a second one.

        Returns:
            Its token ids, with the special tokens that the tokenizer adds.
        """
        has_bos = bool(self._bos_text) and text.startswith(self._bos_text)
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=not has_bos).ids
        return ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """
        Decode ids, special tokens included.

        Args:
            token_ids: The ids; those that the tokenizer doesn't know have no text.

        Returns:
            Their text.
        """
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    def is_silent(self, token_id: int, *, skip_special_tokens: bool) -> bool:
        """
        Tell whether a token adds nothing to a text.

        Args:
            token_id: The token. Models often have more outputs than their tokenizer has tokens.

            skip_special_tokens: Whether special tokens are left out.

        Returns:
            True if it adds nothing.
        """
        if token_id not in self._known_ids:
            return True
        return skip_special_tokens and token_id in self.special_ids

    def _token_text(self, token_id: int) -> str:
        return self.decode([token_id])


class Detokenizer:
    """The text of one answer, growing token by token."""

    def __init__(
        self, vocabulary: Vocabulary, prompt_ids: Sequence[int], *, skip_special_tokens: bool
    ) -> None:
        self._vocabulary = vocabulary
        self._skips_special = skip_special_tokens
        self._window = self._find_context(prompt_ids)
        self._given = len(self._window)  # tokens of the window whose text was given out
        self._given_text = vocabulary.decode(self._window)

    def add(self, token_id: int) -> str:
        """
        Take the next token.

        Args:
            token_id: Its id.

        Returns:
            What it adds to the text; empty while a character is not whole.
        """
        if self._is_silent(token_id):
            return ""
        self._window.append(token_id)
        text = self._vocabulary.decode(self._window)
        held = len(self._window) - self._given
        if held < MAX_HELD_TOKENS and (text.endswith(REPLACEMENT) or len(text) <= len(self._given_text)):
            return ""
        added = text[len(self._given_text) :]
        self._window = self._window[self._given :]
        self._given = len(self._window)
        self._given_text = self._vocabulary.decode(self._window)
        return added

    def flush(self) -> str:
        """
        End the text.

        Returns:
            What was held back: U+FFFD for characters that stay incomplete.
        """
        if self._given == len(self._window):
            return ""
        added = self._vocabulary.decode(self._window)[len(self._given_text) :]
        self._given = len(self._window)
        return added

    def _find_context(self, prompt_ids: Sequence[int]) -> list[int]:
        """Take the prompt's last tokens, from where a character begins: bytes of half a one spoil what follows."""
        tail = [token_id for token_id in prompt_ids[-3 * CONTEXT_TOKENS :] if not self._is_silent(token_id)]
        for count in range(CONTEXT_TOKENS, CONTEXT_TOKENS + MAX_CHARACTER_BYTES):
            if REPLACEMENT not in self._vocabulary.decode(tail[-count:]):
                return tail[-count:]
        return tail[-CONTEXT_TOKENS:]

    def _is_silent(self, token_id: int) -> bool:
        return self._vocabulary.is_silent(token_id, skip_special_tokens=self._skips_special)
