"""The sampler against a slow and obvious one; rows that don't know of each other; faults that stay their row's."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.runtime.decoder.choices import SeenTokens
from export.runtime.decoder.parameters import Parameters
from export.runtime.decoder.sampling import RowFailed, RowRefused, Sampled, Sampler

VOCAB_SIZE = 300


@dataclass
class FakeConstraint:
    """A constraint that allows a fixed set of tokens; none at all is a breakdown."""

    allowed: set[int]

    def allowed_tokens(self) -> np.ndarray:
        """Tell the allowed tokens as a mask."""
        if not self.allowed:
            raise RowRefused("too complex")
        mask = np.zeros(VOCAB_SIZE, dtype=np.bool_)
        mask[list(self.allowed)] = True
        return mask


@dataclass
class FakeChoice:
    """What the sampler looks at of a choice, with a draw that the test decides."""

    parameters: Parameters
    prompt_ids: list[int] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    constraint: FakeConstraint | None = None
    share: float = 0.5
    end_ids: np.ndarray = field(default_factory=lambda: np.array([1, 2]))

    def __post_init__(self) -> None:
        bias = dict(self.parameters.logit_bias)
        self.bias_ids = np.array(list(bias), dtype=np.int64) if bias else None
        self.bias_values = np.array(list(bias.values()), dtype=np.float32) if bias else None
        wanted = self.parameters
        penalised = wanted.repetition_penalty != 1 or wanted.presence_penalty or wanted.frequency_penalty
        self.seen = (
            SeenTokens(self.prompt_ids if wanted.repetition_penalty != 1 else ()) if penalised else None
        )
        for token_id in self.token_ids if self.seen else ():
            self.seen.add(token_id)
        self.has_adjustments = bool(
            self.constraint is not None or bias or wanted.min_tokens or self.seen is not None
        )

    def draw(self) -> float:
        """Give the share."""
        return self.share


def adjust_slowly(logits: np.ndarray, choice: FakeChoice) -> list[float]:
    """Apply constraint, `min_tokens`, bias and penalties token by token, in vLLM's order."""
    wanted = choice.parameters
    adjusted = []
    for token_id, raw in enumerate(logits.tolist()):
        logit = raw
        if choice.constraint is not None and token_id not in choice.constraint.allowed:
            logit = -math.inf
        if len(choice.token_ids) < wanted.min_tokens and token_id in choice.end_ids:
            logit = -math.inf
        logit += dict(wanted.logit_bias).get(token_id, 0.0)
        if token_id in choice.prompt_ids or token_id in choice.token_ids:
            logit = logit / wanted.repetition_penalty if logit > 0 else logit * wanted.repetition_penalty
        count = choice.token_ids.count(token_id)
        logit -= wanted.frequency_penalty * count + wanted.presence_penalty * (count > 0)
        adjusted.append(logit)
    return adjusted


def kept_slowly(adjusted: list[float], wanted: Parameters, slack: float) -> set[int]:
    """Find the tokens that `min_p`, `top_k` and `top_p` keep; *slack* widens the borders by a share."""
    largest = max(adjusted)
    weights = {
        token: math.exp((logit - largest) / wanted.temperature) for token, logit in enumerate(adjusted)
    }
    weights = {token: weight for token, weight in weights.items() if weight >= wanted.min_p * (1 - slack)}
    if wanted.top_k:
        border = sorted(weights.values(), reverse=True)[: wanted.top_k][-1]
        weights = {token: weight for token, weight in weights.items() if weight >= border * (1 - slack)}
    may_drop = (1 - wanted.top_p) * sum(weights.values()) * (1 - slack) - slack
    dropped, kept = 0.0, set(weights)
    for token, weight in sorted(weights.items(), key=lambda item: item[1])[:-1]:
        dropped += weight
        if wanted.top_p < 1 and dropped <= may_drop:
            kept.discard(token)
    return kept


@st.composite
def choices(draw: st.DrawFn) -> FakeChoice:
    """Any mixture of parameters."""
    small = st.integers(min_value=0, max_value=VOCAB_SIZE - 1)
    parameters = Parameters(
        temperature=draw(st.sampled_from([0.0, 0.01, 0.5, 1.0, 2.0])),
        top_p=draw(st.sampled_from([1.0, 0.95, 0.5, 0.01])),
        top_k=draw(st.sampled_from([0, 1, 5, 1000])),
        min_p=draw(st.sampled_from([0.0, 0.05, 1.0])),
        repetition_penalty=draw(st.sampled_from([1.0, 1.3, 0.8])),
        presence_penalty=draw(st.sampled_from([0.0, 1.5, -1.5])),
        frequency_penalty=draw(st.sampled_from([0.0, 1.5, -1.5])),
        min_tokens=draw(st.sampled_from([0, 3])),
        logit_bias=tuple(draw(st.dictionaries(small, st.sampled_from([-100.0, 5.0]), max_size=3)).items()),
        logprobs=draw(st.sampled_from([None, 0, 3])),
    )
    constraint = draw(st.none() | st.builds(FakeConstraint, st.sets(small, min_size=3, max_size=9)))
    ids = st.lists(small, max_size=6)
    share = draw(st.floats(min_value=0, max_value=1, exclude_max=True))
    return FakeChoice(parameters, draw(ids), draw(ids), constraint, share)


def make_logits(rows: int, seed: int) -> np.ndarray:
    """Draw logits of shape (rows, VOCAB_SIZE) with the spread of a model's."""
    return (np.random.default_rng(seed).standard_normal((rows, VOCAB_SIZE)) * 4).astype(np.float32)


@settings(max_examples=80, deadline=None)
@given(st.lists(choices(), min_size=1, max_size=5), st.integers(min_value=0, max_value=99))
def test_tokens_are_those_of_the_obvious_sampler(rows: list[FakeChoice], seed: int) -> None:
    """Every row's token is its likeliest or one that the filters keep, and it is told with the model's logprobs."""
    logits = make_logits(len(rows), seed)
    for choice, raw, sampled in zip(
        rows, logits, Sampler(VOCAB_SIZE).sample(logits.copy(), rows), strict=True
    ):
        assert isinstance(sampled, Sampled)
        adjusted = adjust_slowly(raw, choice)
        if choice.parameters.temperature == 0:
            assert adjusted[sampled.token_id] >= max(adjusted) - 1e-4
        else:
            assert sampled.token_id in kept_slowly(adjusted, choice.parameters, 1e-4)
            assert adjusted[sampled.token_id] > -math.inf
        if choice.parameters.logprobs is None:
            assert sampled[1:] == (None, None, ())
            continue
        total = math.log(sum(math.exp(float(logit)) for logit in raw))
        assert sampled.logprob == pytest.approx(float(raw[sampled.token_id]) - total, abs=1e-4)
        assert sampled.rank == sorted(raw.tolist(), reverse=True).index(raw[sampled.token_id]) + 1
        best = sorted(range(VOCAB_SIZE), key=lambda token: -raw[token])[: choice.parameters.logprobs]
        assert [token for token, _ in sampled.top] == best
        assert all(
            logprob == pytest.approx(float(raw[token]) - total, abs=1e-4) for token, logprob in sampled.top
        )


@settings(max_examples=40, deadline=None)
@given(st.lists(choices(), min_size=2, max_size=6), st.integers(min_value=0, max_value=99))
def test_a_row_does_not_depend_on_its_neighbours(rows: list[FakeChoice], seed: int) -> None:
    """Each row alone, and in a batch the other way round, gives exactly what it gives in the batch."""
    logits = make_logits(len(rows), seed)
    sampler = Sampler(VOCAB_SIZE)
    together = sampler.sample(logits.copy(), rows)
    assert sampler.sample(logits[::-1].copy(), rows[::-1]) == together[::-1]
    for row, choice in enumerate(rows):
        assert sampler.sample(logits[row : row + 1].copy(), [choice]) == [together[row]]


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(temperature=1.0),
        Parameters(temperature=0.7, top_p=0.8),
        Parameters(temperature=1.5, top_k=20, min_p=0.02),
    ],
)
def test_draws_follow_the_distribution(parameters: Parameters) -> None:
    """Evenly spread draws give each token as often as its probability says."""
    logits = make_logits(1, 3)
    draws = 1000
    rows = [FakeChoice(parameters, share=(place + 0.5) / draws) for place in range(draws)]
    sampled = Sampler(VOCAB_SIZE).sample(np.repeat(logits, draws, axis=0), rows)
    counts = np.bincount([token.token_id for token in sampled], minlength=VOCAB_SIZE)
    adjusted = adjust_slowly(logits[0], rows[0])
    kept = kept_slowly(adjusted, parameters, 0.0)
    weights = np.array(
        [math.exp(x / parameters.temperature) if token in kept else 0 for token, x in enumerate(adjusted)]
    )
    assert np.abs(counts - weights / weights.sum() * draws).max() <= 1.001


def test_a_flat_distribution_keeps_the_nucleus_s_share() -> None:
    """Where all tokens are alike, the first guess at the nucleus is wrong and the sure one is taken."""
    sampler = Sampler(VOCAB_SIZE)
    logits = np.linspace(0, 1e-3, VOCAB_SIZE, dtype=np.float32)[None]
    wanted = Parameters(temperature=1.0, top_p=0.5)
    low = sampler.sample(logits.copy(), [FakeChoice(wanted, share=0.0)])[0]
    assert isinstance(low, Sampled)
    assert low.token_id == pytest.approx(VOCAB_SIZE / 2, abs=2)


def test_shares_at_the_borders_give_tokens_that_can_come() -> None:
    """A draw of 0 and one of almost 1 give the first and the last token with a weight, never one without."""
    wanted = Parameters(temperature=1.0, top_k=2)
    logits = np.full((2, VOCAB_SIZE), -5.0, dtype=np.float32)
    logits[:, [7, 290]] = 3.0
    rows = [FakeChoice(wanted, share=0.0), FakeChoice(wanted, share=math.nextafter(1, 0))]
    assert [token.token_id for token in Sampler(VOCAB_SIZE).sample(logits, rows)] == [7, 290]


def test_a_row_without_a_token_fails_alone() -> None:
    """A constraint beyond its limits, one at odds with `min_tokens`, and logits of NaN fail; neighbours don't."""
    greedy, random = Parameters(temperature=0.0), Parameters(temperature=1.0)
    rows = [
        FakeChoice(greedy),
        FakeChoice(greedy, constraint=FakeConstraint(set())),
        FakeChoice(Parameters(min_tokens=5), constraint=FakeConstraint({1, 2})),
        FakeChoice(random),
        FakeChoice(random),
    ]
    logits = make_logits(5, 1)
    logits[3, 100] = np.nan
    expected = int(logits[0].argmax())
    sampled = Sampler(VOCAB_SIZE).sample(logits, rows)
    assert sampled[0] == Sampled(expected)
    assert [isinstance(token, RowFailed) for token in sampled] == [False, True, True, True, False]
    assert str(sampled[1]) == "too complex"
    assert str(sampled[2]) == "'structured_outputs' and 'min_tokens': no token is left to choose"
    assert [isinstance(token, RowRefused) for token in sampled] == [False, True, True, False, False]
    assert "not numbers" in str(sampled[3])
