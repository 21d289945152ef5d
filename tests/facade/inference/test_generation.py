"""Sampling parameters are read and checked before anything is queued."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest

from facade.errors import InvalidInput
from facade.inference.catalogue import ModelCard
from facade.inference.generation import TASK, Sampling, check_sampling, make_sampling


def test_only_what_differs_from_vllms_defaults_is_sent() -> None:
    """A model's own defaults are vLLM's."""
    assert msgspec.json.encode(Sampling()) == b"{}"
    assert msgspec.json.decode(msgspec.json.encode(Sampling(temperature=0.0, stop=["\n"], seed=3))) == {
        "temperature": 0.0,
        "stop": ["\n"],
        "seed": 3,
    }


@pytest.mark.parametrize(
    ("sampling", "expected"),
    [
        (Sampling(), False),
        (Sampling(temperature=0.0), True),
        (Sampling(seed=0), True),
        (Sampling(seed=5), True),
    ],
)
def test_what_repeats_itself_is_known(sampling: Sampling, expected: object) -> None:
    """Such answers may be shared."""
    assert sampling.is_deterministic is expected


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("n", [0, -1, 5]),
        ("temperature", [-0.1, 101.0, math.nan, math.inf]),
        ("top_p", [0.0, -1.0, 1.1, math.nan]),
        ("min_p", [-0.1, 1.1]),
        ("top_k", [-2]),
        ("presence_penalty", [-2.1, 2.1]),
        ("frequency_penalty", [-2.1, 2.1]),
        ("repetition_penalty", [0.0, -1.0, math.nan]),
        ("seed", [2**63, -(2**63) - 1]),
        ("max_tokens", [0, -1]),
        ("min_tokens", [-1, 17]),
        ("logprobs", [-1, 6]),
        ("stop", [[""], ["a", ""]]),
        ("logit_bias", [{"a": 1.0}, {"5": 101.0}, {"-1": 1.0}, {"5": math.nan}, {"²": 1.0}]),
    ],
)
def test_impossible_values_are_refused_by_name(field: str, values: list[Any]) -> None:
    """None of them reaches a model."""
    for value in values:
        with pytest.raises(InvalidInput) as raised:
            check_sampling(Sampling(**{field: value}), max_n=4, max_logprobs=5)
        assert raised.value.param == field


def test_the_edges_are_possible() -> None:
    """A range has its ends in it."""
    for sampling in (
        Sampling(
            n=4, temperature=0.0, top_p=1.0, min_p=1.0, top_k=-1, logprobs=0, max_tokens=1, min_tokens=1
        ),
        Sampling(presence_penalty=-2.0, frequency_penalty=2.0, logit_bias={"0": -100.0}, logprobs=5),
    ):
        check_sampling(sampling, max_n=4, max_logprobs=5)


def test_a_seed_of_minus_one_is_none() -> None:
    """As for vLLM: such answers differ each time, so they are neither shared nor kept."""
    sampling = make_sampling(ModelCard(task=TASK), {"seed": -1})
    assert sampling.seed is None
    assert not sampling.is_deterministic


def test_the_models_defaults_stand_where_the_caller_says_nothing() -> None:
    """What the card has beyond sampling is left alone."""
    card = ModelCard(
        task="text-generation", default_sampling={"temperature": 0.7, "top_k": 20, "pad_token_id": 0}
    )

    assert make_sampling(card, {"temperature": 0.1, "stop": "\n"}) == Sampling(
        temperature=0.1, top_k=20, stop=["\n"]
    )


@pytest.mark.parametrize(
    ("given", "param"),
    [({"temp": 1}, "temp"), ({"top_k": "x"}, "top_k"), ({"seed": 1.5}, "seed"), ({"stop": [1]}, "stop")],
)
def test_unknown_and_misshapen_parameters_are_refused_by_name(given: dict[str, Any], param: str) -> None:
    """A typo is no wish to be ignored."""
    with pytest.raises(InvalidInput) as raised:
        make_sampling(ModelCard(task="text-generation"), given)

    assert raised.value.param == param
    assert raised.value.message.startswith(f"'{param}'")
