"""
From the model's logits to the next token of each row: one pass over a batch of rows that ask for different things.

The order is vLLM's (`vllm/v1/sample/sampler.py`): log probabilities of the model's own distribution; what must not
come (constraint, `min_tokens`); `logit_bias`; penalties; then the likeliest token, or with a temperature: `min_p`,
`top_k`, `top_p`, and a draw.

Rules for later editors:

1. A row's token depends on nothing but its own logits and its own choice: not on its neighbours, not on its place.
2. A row that can't be sampled is a `RowFailed` in its place; the others get their tokens.
3. A batch of plain greedy rows costs one argmax.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .choices import Choice

FloatArray = npt.NDArray[np.float32]

BLOCK = 256
"""Weights are summed in blocks of this many, so that a draw reads two short sums instead of one long one."""

FLOORS = (1 / 16, 1 / 256, 1 / 65536, 0.0)
"""`top_k` and `top_p` sort only tokens above the first of these weights that leaves enough; the likeliest weighs 1."""


class Sampled(NamedTuple):
    """A row's next token, and what the model thought of it."""

    token_id: int
    """The token."""

    logprob: float | None = None
    """Its log probability in the model's own distribution, if the choice asked for log probabilities."""

    rank: int | None = None
    """How many tokens are at least as likely, itself included."""

    top: tuple[tuple[int, float], ...] = ()
    """The likeliest tokens and their log probabilities, likeliest first; as many as the choice asked for."""


class RowFailed(Exception):
    """One row has no next token; its text says why."""


class RowRefused(RowFailed):
    """A row has no next token because of what its own request asks for; the text begins with a parameter's name."""


class Sampler:
    """Samples batches of rows of one model."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._weights = np.zeros(-(-vocab_size // BLOCK) * BLOCK, dtype=np.float32)

    def sample(self, logits: FloatArray, choices: Sequence["Choice"]) -> list[Sampled | RowFailed]:
        """
        Choose the next token of each row.

        Args:
            logits: float32 array of shape (rows, vocab_size); it is written to.

            choices: The rows' choices, in the same order.

        Returns:
            For each row its token, or why there is none.
        """
        failures: dict[int, RowFailed] = {}
        told = [row for row, choice in enumerate(choices) if choice.parameters.logprobs is not None]
        raw = logits[told] if told else None  # a copy: (told rows, vocab_size)
        adjusted = [row for row, choice in enumerate(choices) if choice.has_adjustments]
        if adjusted:
            self._adjust(logits, choices, adjusted, failures)
        tokens = logits.argmax(axis=1)
        best = logits[np.arange(len(choices)), tokens]
        if not np.isfinite(best).all():
            for row in np.flatnonzero(~np.isfinite(best)).tolist():
                failures.setdefault(row, _explain_nothing_left(best[row], choices[row]))
        for row, choice in enumerate(choices):
            if choice.parameters.temperature and row not in failures:
                tokens[row] = self._draw(logits[row], best[row], choice)
        sampled: list[Sampled | RowFailed] = [
            failures[row] if row in failures else Sampled(token) for row, token in enumerate(tokens.tolist())
        ]
        if raw is not None:
            _tell(raw, told, choices, sampled)
        return sampled

    def _adjust(
        self,
        logits: FloatArray,
        choices: Sequence["Choice"],
        rows: list[int],
        failures: dict[int, RowFailed],
    ) -> None:
        """Write constraint, `min_tokens`, bias and penalties into the logits of *rows*."""
        for row in rows:
            choice = choices[row]
            if choice.constraint is not None:
                try:
                    allowed = choice.constraint.allowed_tokens()  # (vocab_size,)
                except RowFailed as error:
                    failures[row] = error
                    continue
                logits[row, ~allowed] = -np.inf
            if len(choice.token_ids) < choice.parameters.min_tokens:
                logits[row, choice.end_ids] = -np.inf
            if choice.bias_ids is not None:
                logits[row, choice.bias_ids] += choice.bias_values
        penalised = [row for row in rows if choices[row].seen is not None]
        if penalised:
            _penalise(logits, penalised, choices)

    def _draw(self, logits: FloatArray, best: float, choice: "Choice") -> int:
        """
        Draw one row's token.

        Args:
            logits: float32 array of shape (vocab_size,).

            best: The largest of them.

            choice: The row's choice, with a temperature above 0.

        Returns:
            The token's id.
        """
        parameters = choice.parameters
        # Weights, not probabilities: the likeliest token weighs 1, and a draw needs no division. One row at a time,
        # in one buffer that stays in the processor's cache: four times as fast as all rows together.
        weights = self._weights[: self._vocab_size]
        np.subtract(logits, best, out=weights)
        weights /= np.float32(parameters.temperature)
        np.exp(weights, out=weights)
        if parameters.min_p:
            weights *= weights >= parameters.min_p
        if 0 < parameters.top_k < self._vocab_size:
            _keep_top_k(weights, parameters.top_k)
        if parameters.top_p < 1:
            _keep_top_p(weights, parameters.top_p)
        return _pick(self._weights.reshape(-1, BLOCK), choice.draw())


def _penalise(logits: FloatArray, rows: list[int], choices: Sequence["Choice"]) -> None:
    """
    Apply repetition, frequency and presence penalties to the tokens that each row has seen.

    Source:
        vLLM, `apply_penalties`: repetition over prompt and answer; frequency and presence over the answer.
    """
    seen = [choices[row].seen for row in rows]
    kept = [tokens for tokens in seen if tokens is not None]
    sizes = [tokens.size for tokens in kept]
    flat = (np.repeat(rows, sizes), np.concatenate([tokens.ids[: tokens.size] for tokens in kept]))
    counts = np.concatenate([tokens.counts[: tokens.size] for tokens in kept])
    wanted = [choices[row].parameters for row in rows]
    repetition = np.repeat(np.array([it.repetition_penalty for it in wanted], dtype=np.float32), sizes)
    frequency = np.repeat(np.array([it.frequency_penalty for it in wanted], dtype=np.float32), sizes)
    presence = np.repeat(np.array([it.presence_penalty for it in wanted], dtype=np.float32), sizes)
    values = logits[flat]
    values = np.where(values > 0, values / repetition, values * repetition)
    values -= frequency * counts + presence * (counts > 0)
    logits[flat] = values


def _keep_top_k(weights: FloatArray, top_k: int) -> None:
    """Set all but the *top_k* largest weights to 0; those that equal the last one stay, as in vLLM."""
    for floor in FLOORS:
        candidates = weights[weights > floor]
        if candidates.size > top_k:
            place = candidates.size - top_k
            weights *= weights >= np.partition(candidates, place)[place]
            return


def _keep_top_p(weights: FloatArray, top_p: float) -> None:
    """Set the smallest weights to 0 whose sum stays within 1 - *top_p* of all; the largest always stays."""
    total = float(weights.sum())
    may_drop = (1 - top_p) * total
    for floor in FLOORS:
        candidates = weights[weights > floor]
        dropped = total - float(candidates.sum())
        if dropped <= may_drop:
            break
    candidates.sort()
    ascending = dropped + np.cumsum(candidates, dtype=np.float64)
    first_kept = min(int(np.searchsorted(ascending, may_drop, side="right")), candidates.size - 1)
    weights *= weights >= candidates[first_kept]


def _pick(blocks: FloatArray, share: float) -> int:
    """
    Find the token at a share of the sum of all weights.

    Args:
        blocks: Weights of shape (blocks, BLOCK), at least one of them above 0.

        share: Where to look, in [0, 1).

    Returns:
        A token whose weight is above 0, whatever the rounding.
    """
    sums = blocks.sum(axis=1).astype(np.float64)
    ends = np.cumsum(sums)
    target = share * ends[-1]
    block = int(np.searchsorted(ends, target, side="right"))
    if block == len(sums):
        block = int(np.flatnonzero(sums)[-1])
    inner = np.cumsum(blocks[block], dtype=np.float64)
    rest = max(target - (ends[block] - sums[block]), 0.0)
    place = int(np.searchsorted(inner, rest, side="right"))
    if place == BLOCK:
        place = int(np.flatnonzero(blocks[block])[-1])
    return block * BLOCK + place


def _tell(
    raw: FloatArray,
    told: list[int],
    choices: Sequence["Choice"],
    sampled: list[Sampled | RowFailed],
) -> None:
    """Add to the samples of the rows *told* what the model thought: log probability, rank, likeliest tokens."""
    for logits, row in zip(raw, told, strict=True):
        token = sampled[row]
        if isinstance(token, RowFailed):
            continue
        largest = logits.max()
        log_total = float(np.log(np.exp(logits - largest).sum(dtype=np.float64)) + largest)
        count = min(choices[row].parameters.logprobs or 0, logits.size)
        top: list[int] = []
        if count:
            likely = _likeliest(logits, count)
            top = likely[np.lexsort((likely, -logits[likely]))][:count].tolist()
        sampled[row] = Sampled(
            token.token_id,
            float(logits[token.token_id] - log_total),
            int(np.count_nonzero(logits >= logits[token.token_id])),
            tuple((token_id, float(logits[token_id] - log_total)) for token_id in top),
        )


def _likeliest(logits: FloatArray, count: int) -> npt.NDArray[np.int64]:
    """Find at least the *count* likeliest tokens, in any order: far fewer are sorted than there are."""
    largest = logits.max()
    for floor in FLOORS:
        with np.errstate(divide="ignore"):
            likely = np.flatnonzero(logits >= largest + np.log(floor))
        if likely.size >= count:
            break
    return likely


def _explain_nothing_left(best: float, choice: "Choice") -> RowFailed:
    """Say why a row has no token with a finite logit, *best* being the largest."""
    if best != -np.inf or not choice.has_adjustments:
        return RowFailed("the model gave logits that are not numbers")
    asked = {
        "structured_outputs": choice.constraint is not None,
        "logit_bias": bool(choice.parameters.logit_bias),
        "min_tokens": bool(choice.parameters.min_tokens),
    }
    names = " and ".join(f"'{name}'" for name, is_asked in asked.items() if is_asked)
    return RowRefused(f"{names}: no token is left to choose")
