"""What both of OpenAI's routes for text mean by their fields."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facade.errors import InvalidInput
from facade.inference.catalogue import ModelCard
from facade.schemas.chat import MORE_THAN_ANY_MODEL, chat_sampling, read_chat
from facade.schemas.completions import completions_sampling, read_completions
from facade.schemas.generation import MAX_CONSTRAINT_BYTES, to_constraint

CARD = ModelCard(task="text-generation", max_model_len=64)
HI = [{"role": "user", "content": "hi"}]


def body(**fields: Any) -> bytes:
    """Write a chat's body."""
    return json.dumps({"model": "chat", "messages": HI} | fields).encode()


def max_tokens(card: ModelCard, **fields: Any) -> int:
    """Say how long a chat's answer may be."""
    return chat_sampling(
        read_chat(body(**fields)), card, constraint=None, skip_special_tokens=True
    ).max_tokens


def test_a_chats_length_is_the_callers_the_cards_or_the_contexts() -> None:
    """In this order."""
    own = ModelCard(task="text-generation", max_model_len=64, default_sampling={"max_tokens": 32})

    assert max_tokens(own, max_tokens=8) == max_tokens(own, max_completion_tokens=8) == 8
    assert max_tokens(own) == 32
    assert max_tokens(CARD) == 64
    assert max_tokens(ModelCard(task="text-generation")) == MORE_THAN_ANY_MODEL


def test_null_is_as_good_as_nothing() -> None:
    """OpenAI's clients in some languages send every field."""
    fields = {"temperature": None, "tools": None, "stop": None, "stream_options": None, "functions": None}
    wanted = read_completions(b'{"model": "chat", "prompt": "hi", "suffix": null, "n": null}')

    assert read_chat(body(**fields)) == read_chat(body())
    assert completions_sampling(wanted, CARD).n == 1


def test_the_same_schema_is_the_same_text() -> None:
    """So that answers are found in the cache; the order of names is the answer's, and stays."""
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    constraint = to_constraint(read_chat(body(response_format=form)))

    assert constraint == '{"json":{"type":"object","properties":{"b":{},"a":{}}}}'


@pytest.mark.parametrize("schema", [{"description": "x" * MAX_CONSTRAINT_BYTES}, {"enum": ["é"] * 20_000}])
def test_a_large_schema_is_refused(schema: dict[str, Any]) -> None:
    """Before the model hears of it."""
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    with pytest.raises(InvalidInput, match="at most") as refused:
        to_constraint(read_chat(body(response_format=form)))

    assert refused.value.param == "response_format"


@pytest.mark.parametrize("depth", [500, 5_000])
def test_nesting_is_no_way_to_hurt(depth: int) -> None:
    """Deep JSON is refused or bounded, and never a crash."""
    deep = '{"a":' * depth + "1" + "}" * depth
    form = f'{{"type": "json_schema", "json_schema": {{"name": "n", "schema": {deep}}}}}'
    text = f'{{"model": "chat", "messages": [], "response_format": {form}}}'.encode()
    try:
        assert to_constraint(read_chat(text))
    except InvalidInput as refused:
        assert "nested too deeply" in refused.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"stop": [1]}, "stop[0]"),
        ({"temperature": True}, "temperature"),
        ({"logit_bias": {"1": "high"}}, "logit_bias[...]"),
        ({"stream": "yes"}, "stream"),
    ],
)
def test_odd_values_name_their_field(fields: dict[str, Any], param: str) -> None:
    """Values of other types than they should be."""
    with pytest.raises(InvalidInput) as refused:
        chat_sampling(read_chat(body(**fields)), CARD, constraint=None, skip_special_tokens=True)

    assert refused.value.param == param
