"""vLLM's sampling parameters: read, bounded, refused with the field's name first."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from export.runtime.decoder.parameters import (
    MAX_CONSTRAINT_CHARACTERS,
    Constraint,
    Limits,
    Parameters,
    parse_parameters,
)
from export.runtime.decoder.values import MAX_STOP_STRINGS, MAX_TEXT_CHARACTERS, InvalidParameter

LIMITS = Limits(vocab_size=512, max_model_len=64, max_n=4, max_logprobs=5)


def parse(**fields: object) -> Parameters:
    """Read parameters given as JSON's values."""
    return parse_parameters(json.dumps(fields), LIMITS)


def test_nothing_said_means_vllm_s_defaults() -> None:
    """An empty object, and one of nulls, is temperature 1, 16 tokens, one answer."""
    assert parse() == Parameters(n=1, temperature=1.0, top_p=1.0, top_k=0, max_tokens=16)
    assert parse(temperature=None, stop=None, structured_outputs=None) == Parameters()


def test_every_field_is_read() -> None:
    """Each field arrives with its value; lists lose their doubles and an id of the bias may be text."""
    read = parse(
        n=2,
        temperature=0.5,
        top_p=0.9,
        top_k=-1,
        min_p=0.1,
        seed=7.0,
        repetition_penalty=1.1,
        presence_penalty=-1,
        frequency_penalty=2,
        logit_bias={"3": 500, "4": -1.5},
        stop=["a", "b", "a"],
        stop_token_ids=[5, 6, 5],
        max_tokens=30,
        min_tokens=3,
        logprobs=0,
        ignore_eos=True,
        include_stop_str_in_output=True,
        skip_special_tokens=False,
    )
    assert read == Parameters(
        n=2,
        temperature=0.5,
        top_p=0.9,
        top_k=0,
        min_p=0.1,
        seed=7,
        repetition_penalty=1.1,
        presence_penalty=-1.0,
        frequency_penalty=2.0,
        logit_bias=((3, 100.0), (4, -1.5)),
        stop=("a", "b"),
        stop_token_ids=(5, 6),
        max_tokens=30,
        min_tokens=3,
        logprobs=0,
        ignore_eos=True,
        include_stop_str_in_output=True,
        skip_special_tokens=False,
    )


def test_borders_that_vllm_draws() -> None:
    """A tiny temperature is raised, one near 0 is greedy, a seed of -1 is none, one stop string needs no list."""
    assert parse(temperature=0.001).temperature == 0.01
    assert parse(temperature=1e-6).temperature == 0.0
    assert parse(seed=-1).seed is None
    assert parse(seed=-2).seed == -2
    assert parse(stop="end").stop == ("end",)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 0),
        ("n", 5),
        ("n", True),
        ("n", "2"),
        ("n", 1.5),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("temperature", "1"),
        ("top_p", 0),
        ("top_p", 1.01),
        ("top_k", -2),
        ("top_k", 0.5),
        ("min_p", 1.5),
        ("seed", 1 << 63),
        ("seed", "x"),
        ("repetition_penalty", 0),
        ("presence_penalty", 3),
        ("frequency_penalty", -3),
        ("logit_bias", [1]),
        ("logit_bias", {"512": 1}),
        ("logit_bias", {"-1": 1}),
        ("logit_bias", {"x": 1}),
        ("logit_bias", {"²": 1}),
        ("logit_bias", {"1": "2"}),
        ("logit_bias", {"1": float("nan")}),
        ("stop", ""),
        ("stop", ["a", 1]),
        ("stop", ["x"] * (MAX_STOP_STRINGS + 1)),
        ("stop", ["x" * 2000]),
        ("stop_token_ids", 5),
        ("stop_token_ids", [512]),
        ("stop_token_ids", [True]),
        ("max_tokens", 0),
        ("min_tokens", 17),
        ("logprobs", 6),
        ("logprobs", -1),
        ("logprobs", True),
        ("ignore_eos", 1),
        ("max_token", 3),
        ("\ud800", 3),
        ("lora_name", "french"),
        ("prompt_logprobs", 1),
        ("best_of", 2),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(field: str, value: object) -> None:
    """A value out of its bounds or of another type, and an unknown field, is refused in a short sentence."""
    with pytest.raises(InvalidParameter) as caught:
        parse(**{field: value})
    message = str(caught.value)
    assert message.encode()
    assert caught.value.field == field
    assert message.startswith("'" + field.encode("utf-8", "backslashreplace").decode() + "' ")
    assert message.endswith(".")
    assert len(message) < 500


@pytest.mark.parametrize("text", ["", "[]", "3", '{"n":', "[" * 100_000, "x" * (MAX_TEXT_CHARACTERS + 1)])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    """Other JSON, broken JSON, and JSON too long or too deep is refused by the tensor's name."""
    with pytest.raises(InvalidParameter, match=r"^'sampling_parameters' "):
        parse_parameters(text, LIMITS)


@settings(deadline=None)
@given(
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists).flatmap(
        lambda value: st.sampled_from([*Parameters.__slots__, "structured_outputs"]).map(
            lambda name: {name: value}
        )
    )
)
def test_any_value_of_any_field_is_read_or_refused(fields: dict[str, object]) -> None:
    """Whatever a field holds, there are parameters or an `InvalidParameter`, and no other exception."""
    try:
        parse_parameters(json.dumps(fields), LIMITS)
    except InvalidParameter as refusal:
        assert str(refusal).startswith("'")


@pytest.mark.parametrize(
    ("asked", "constraint"),
    [
        ({"json_object": True}, Constraint("json_object", "{}")),
        ({"json": {"type": "array"}}, Constraint("json", '{"type": "array"}')),
        ({"json": '{"type":"array"}'}, Constraint("json", '{"type": "array"}')),
        ({"regex": "[ab]+", "whitespace_pattern": None}, Constraint("regex", "[ab]+")),
        ({"choice": ["é", "no"]}, Constraint("choice", '["é", "no"]')),
        ({"grammar": 'start: "a"', "disable_any_whitespace": False}, Constraint("grammar", 'start: "a"')),
    ],
)
def test_a_constraint_comes_as_object_or_as_json_under_either_name(
    asked: dict[str, object], constraint: Constraint
) -> None:
    """`structured_outputs` and the older `guided_decoding` are read alike, as an object or as JSON in a string."""
    for name in ("structured_outputs", "guided_decoding"):
        assert parse(**{name: asked}).constraint == constraint
        assert parse(**{name: json.dumps(asked)}).constraint == constraint
    assert parse(guided_decoding={"backend": "xgrammar", **asked}).constraint == constraint


@pytest.mark.parametrize(
    "asked",
    [
        {},
        [],
        "{",
        {"regex": "a", "choice": ["a"]},
        {"regex": ""},
        {"regex": 3},
        {"json": []},
        {"json": "{"},
        {"json_object": 1},
        {"choice": []},
        {"choice": [1]},
        {"structural_tag": "x"},
        {"regex": "a", "whitespace_pattern": " "},
        {"regex": "a" * (MAX_CONSTRAINT_CHARACTERS + 1)},
        {"choice": ["\ud800"]},
    ],
)
def test_an_unusable_constraint_is_refused(asked: object) -> None:
    """None, two, an unknown or a mistyped constraint is refused by the field's name."""
    with pytest.raises(InvalidParameter, match=r"^'structured_outputs' "):
        parse(structured_outputs=asked)
