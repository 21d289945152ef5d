"""
One answer that is being written: its tokens, its text, and when it ends.

`Choice.accept` takes each sampled token and says what it adds for the caller. An answer ends with an end-of-sequence
or stop token, a stop string, a completed constraint (all "stop"), or at `max_tokens` ("length").

Rules for later editors:

1. Text that may be the beginning of a stop string is held back until it can't be one any more.
2. The pieces joined are the answer's text, whatever was held back meanwhile.
3. Nothing here knows of other rows.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from .detokenizing import Detokenizer, Vocabulary
from .parameters import Parameters

if TYPE_CHECKING:
    from .constraints import ConstraintState
    from .sampling import Sampled

FinishReason = Literal["stop", "length"]

LOWEST_LOGPROB = -9999.0
"""Log probability that stands for none at all, since JSON has no infinity. Source: vLLM's OpenAI server."""


class Delta(NamedTuple):
    """What new tokens add to one answer."""

    text: str
    """New text; may be empty."""

    num_tokens: int
    """New tokens."""

    finish_reason: FinishReason | None
    """Why the answer ended, with its last piece."""

    logprobs: list[dict[int, dict[str, Any]]] | None
    """For each new token, by id: `logprob`, `rank`, `decoded_token`; None unless asked for. vLLM's shape."""

    cumulative_logprob: float | None = None
    """Sum of the chosen tokens' log probabilities so far; None unless log probabilities were asked for."""


class SeenTokens:
    """The tokens that penalties look at: ids, and how often the answer has each of them."""

    __slots__ = ("_places", "counts", "ids", "size")

    def __init__(self, prompt_ids: Sequence[int]) -> None:
        unique = list(dict.fromkeys(prompt_ids))
        self._places = {token_id: place for place, token_id in enumerate(unique)}
        self.size = len(unique)
        """How many entries of `ids` and `counts` count."""
        self.ids = np.zeros(max(64, 2 * self.size), dtype=np.int64)
        """Token ids, each once."""
        self.ids[: self.size] = unique
        self.counts = np.zeros(self.ids.size, dtype=np.float32)
        """Times that the answer has each; 0 for a token of the prompt alone."""

    def add(self, token_id: int) -> None:
        """Count a token of the answer."""
        place = self._places.setdefault(token_id, self.size)
        if place == self.size:
            if place == self.ids.size:
                self.ids = np.concatenate([self.ids, np.zeros_like(self.ids)])
                self.counts = np.concatenate([self.counts, np.zeros_like(self.counts)])
            self.ids[place] = token_id
            self.size += 1
        self.counts[place] += 1


class StopText:
    """Looks for stop strings in a text that comes in pieces."""

    __slots__ = ("_held", "_keeps_stop", "_stops")

    def __init__(self, stops: Sequence[str], *, keeps_stop: bool) -> None:
        self._stops = tuple(stops)
        self._keeps_stop = keeps_stop
        self._held = ""

    def add(self, piece: str, *, may_stop: bool) -> tuple[str, bool]:
        """
        Take the next piece.

        Args:
            piece: New text.

            may_stop: Whether a stop string that ends in this piece ends the answer.

        Returns:
            The text that can be given out, and whether it was ended by a stop string.
        """
        if not self._stops:
            return piece, False
        text = self._held + piece
        if may_stop and piece:
            found = [
                (place, place + len(stop))
                for stop in self._stops
                if (place := text.find(stop, max(0, len(self._held) - len(stop) + 1))) >= 0
            ]
            if found:
                start, end = min(found)
                self._held = ""
                return text[: end if self._keeps_stop else start], True
        keep = max(_overlap(text, stop) for stop in self._stops)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], False

    def flush(self) -> str:
        """End the text; return what was held back."""
        held, self._held = self._held, ""
        return held


class Choice:
    """One answer to a request: the state of one row."""

    __slots__ = (
        "_detokenizer",
        "_ends",
        "_random",
        "_stop_text",
        "_vocabulary",
        "bias_ids",
        "bias_values",
        "constraint",
        "cumulative_logprob",
        "end_ids",
        "finish_reason",
        "has_adjustments",
        "index",
        "last_token",
        "parameters",
        "prompt_ids",
        "request_id",
        "seen",
        "token_ids",
    )

    def __init__(
        self,
        request_id: int,
        index: int,
        parameters: Parameters,
        prompt_ids: list[int],
        *,
        vocabulary: Vocabulary,
        eos_token_ids: Sequence[int],
        constraint: "ConstraintState | None" = None,
    ) -> None:
        """
        Begin an answer.

        Args:
            request_id: The request that it belongs to.

            index: Its place among the request's answers.

            parameters: How its tokens are chosen.

            prompt_ids: Token ids of the prompt; read only, shared among the answers.

            vocabulary: Turns its tokens into text.

            eos_token_ids: Tokens with which the model ends an answer.

            constraint: The form that it must have, at its beginning; this answer's own.
        """
        self.request_id = request_id
        self.index = index
        self.parameters = parameters
        self.prompt_ids = prompt_ids
        self.token_ids: list[int] = []
        """Tokens so far, the one that ended it included."""
        self.last_token: int | None = None
        self.finish_reason: FinishReason | None = None
        self.cumulative_logprob = 0.0
        self.constraint = constraint
        self.end_ids = np.array(
            list(dict.fromkeys([*eos_token_ids, *parameters.stop_token_ids])), dtype=np.int64
        )
        """Tokens that must not come before `min_tokens`."""
        self.bias_ids: npt.NDArray[np.int64] | None = None
        self.bias_values: npt.NDArray[np.float32] | None = None
        if parameters.logit_bias:
            token_ids, biases = zip(*parameters.logit_bias, strict=True)
            self.bias_ids = np.array(token_ids, dtype=np.int64)
            self.bias_values = np.array(biases, dtype=np.float32)
        self.seen = _start_penalties(parameters, prompt_ids)
        self.has_adjustments = bool(
            constraint is not None or parameters.logit_bias or parameters.min_tokens or self.seen is not None
        )
        """Whether anything changes this row's logits before a token is chosen."""
        self._vocabulary = vocabulary
        self._detokenizer = Detokenizer(
            vocabulary, prompt_ids, skip_special_tokens=parameters.skip_special_tokens
        )
        self._stop_text = StopText(parameters.stop, keeps_stop=parameters.include_stop_str_in_output)
        self._random: np.random.Generator | None = None
        if parameters.ignore_eos:
            self._ends = frozenset(parameters.stop_token_ids)
        else:
            self._ends = frozenset([*eos_token_ids, *parameters.stop_token_ids])

    def draw(self) -> float:
        """Draw a number in [0, 1) from this answer's own generator: one for each token, the seed decides them all."""
        if self._random is None:
            seed = self.parameters.seed
            # NOTE: The same seed gives the answers of one request different texts, and each the same one next time.
            entropy = None if seed is None else [seed & 0xFFFFFFFFFFFFFFFF, self.index]
            self._random = np.random.default_rng(entropy)
        return float(self._random.random())

    def accept(self, sampled: "Sampled") -> Delta:
        """
        Take the token that was chosen for this row.

        Args:
            sampled: The token.

        Returns:
            What it adds for the caller.

        Raises:
            RowRefused: If the constraint breaks down.
        """
        token_id = sampled.token_id
        self.token_ids.append(token_id)
        self.last_token = token_id
        if self.seen is not None:
            self.seen.add(token_id)
        is_end = token_id in self._ends
        if self.constraint is not None and not is_end:
            self.constraint.accept(token_id)
        text = self._extend_text(token_id, is_end=is_end)
        logprobs = None
        if sampled.logprob is not None:
            self.cumulative_logprob += max(sampled.logprob, LOWEST_LOGPROB)
            logprobs = [self._describe(sampled)]
        return Delta(
            text, 1, self.finish_reason, logprobs, None if logprobs is None else self.cumulative_logprob
        )

    def _extend_text(self, token_id: int, *, is_end: bool) -> str:
        """Add a token's text and decide whether the answer ends; return what can be given out."""
        parameters = self.parameters
        # The text of a token that ends the answer is left out, like a stop string's. Source: vLLM's detokenizer.
        is_shown = not is_end or parameters.include_stop_str_in_output
        piece = self._detokenizer.add(token_id) if is_shown else ""
        may_stop = len(self.token_ids) > parameters.min_tokens
        text, was_stopped = self._stop_text.add(piece, may_stop=may_stop)
        if was_stopped:
            self.finish_reason = "stop"
            return text
        if is_end or (self.constraint is not None and self.constraint.is_finished):
            self.finish_reason = "stop"
        elif len(self.token_ids) >= parameters.max_tokens:
            self.finish_reason = "length"
        else:
            return text
        return text + self._stop_text.flush() + self._detokenizer.flush()

    def _describe(self, sampled: "Sampled") -> dict[int, dict[str, Any]]:
        """Tell a token's log probability and its alternatives' in vLLM's shape."""
        text_of = self._vocabulary.token_text
        entry = {
            sampled.token_id: {
                "logprob": max(sampled.logprob or 0.0, LOWEST_LOGPROB),
                "rank": sampled.rank,
                "decoded_token": text_of(sampled.token_id),
            }
        }
        for rank, (token_id, logprob) in enumerate(sampled.top, start=1):
            if token_id not in entry:
                entry[token_id] = {
                    "logprob": max(logprob, LOWEST_LOGPROB),
                    "rank": rank,
                    "decoded_token": text_of(token_id),
                }
        return entry


def _start_penalties(parameters: Parameters, prompt_ids: Sequence[int]) -> SeenTokens | None:
    """Begin to count tokens if a penalty asks for it; the prompt's matter to the repetition penalty alone."""
    if parameters.repetition_penalty != 1:
        return SeenTokens(prompt_ids)
    if parameters.presence_penalty or parameters.frequency_penalty:
        return SeenTokens(())
    return None


def _overlap(text: str, stop: str) -> int:
    """Count the characters at the end of *text* that *stop* begins with, all of *stop* excluded."""
    place = text.find(stop[0], max(0, len(text) - len(stop) + 1))
    while place >= 0:
        if stop.startswith(text[place:]):
            return len(text) - place
        place = text.find(stop[0], place + 1)
    return 0
