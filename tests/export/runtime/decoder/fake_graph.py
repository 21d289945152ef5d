"""A decoder's graph without a model: a row's next token is a function of the tokens that it has read, and no more."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from export.runtime.decoder.sampling import RowFailed, Sampled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from export.runtime.decoder.choices import Choice

VOCAB_SIZE = 50
EOS = 1


def next_token(tokens: Sequence[int]) -> int:
    """Say what follows these tokens."""
    digest = hashlib.blake2b(np.asarray(tokens, dtype=np.int64).tobytes(), digest_size=4).digest()
    return int.from_bytes(digest, "little") % VOCAB_SIZE


class FakeGraph:
    """What `graph.DecoderGraph` asks for, with the tokens themselves in place of keys and values."""

    def __init__(self, rows: int, max_model_len: int = 64) -> None:
        self.rows = rows
        self.max_model_len = max_model_len
        self.held: list[list[int]] = [[] for _ in range(rows)]
        self.calls: list[tuple[str, int]] = []
        """Each call's kind and its tokens."""
        self.copies = 0
        self.fails = False
        """Whether the next call fails."""

    def prefill(self, row: int, start: int, token_ids: Sequence[int]) -> npt.NDArray[np.float32]:
        """Read tokens; a row that lacks the ones before is the caller's mistake."""
        self._call("prefill", len(token_ids))
        assert len(token_ids) > 0
        assert start <= len(self.held[row])
        self.held[row][start:] = token_ids
        return _logits([self.held[row]])

    def prefill_together(self, first_row: int, prompts: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        """Read whole prompts; the logits of all but the longest are another token's."""
        longest = max(len(prompt) for prompt in prompts)
        self._call("prefill", longest * len(prompts))
        for row, prompt in enumerate(prompts, start=first_row):
            self.held[row] = [*prompt, *([0] * (longest - len(prompt)))]
        logits = _logits(self.held[first_row : first_row + len(prompts)])
        for place, prompt in enumerate(prompts):
            if len(prompt) < longest:
                logits[place] = np.roll(_logits([prompt])[0], 1)
        return logits

    def decode(self, token_ids: Sequence[int], lengths: Sequence[int]) -> npt.NDArray[np.float32]:
        """Read one token into each of the first rows."""
        self._call("decode", len(token_ids))
        for row, (token, length) in enumerate(zip(token_ids, lengths, strict=True)):
            assert length <= len(self.held[row])
            self.held[row][length:] = [token]
        return _logits(self.held[: len(token_ids)])

    def copy_row(self, source: int, target: int, length: int) -> None:
        """Copy a row's beginning; the rest of the target stays, as in a real buffer."""
        assert source != target
        assert length <= len(self.held[source])
        self.copies += 1
        self.held[target][:length] = self.held[source][:length]

    def _call(self, kind: str, tokens: int) -> None:
        if self.fails:
            raise RuntimeError("the graph is broken")
        self.calls.append((kind, tokens))


def _logits(rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
    logits = np.zeros((len(rows), VOCAB_SIZE), dtype=np.float32)
    for place, tokens in enumerate(rows):
        logits[place, next_token(tokens)] = 1.0
    return logits


class PlainSampler:
    """Takes the likeliest token; `sampling.Sampler` has tests of its own."""

    def __init__(self) -> None:
        self.fails_at: set[int] = set()
        """Request ids whose rows can't be sampled."""
        self.breaks = False
        """Whether all of it breaks down."""

    def sample(self, logits: npt.NDArray[np.float32], choices: Sequence[Choice]) -> list[Sampled | RowFailed]:
        """Take each row's likeliest token."""
        if self.breaks:
            raise RuntimeError("no dice")
        return [
            RowFailed("nothing left to say") if choice.request_id in self.fails_at else Sampled(token)
            for token, choice in zip(logits.argmax(axis=1).tolist(), choices, strict=True)
        ]
