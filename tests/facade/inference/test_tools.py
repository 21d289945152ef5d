"""Families of models write calls in ways of their own, and can be made to write nothing else."""

from __future__ import annotations

import json

import pytest

from facade.inference.tools import (
    HERMES,
    LLAMA,
    MISTRAL,
    ForcedParser,
    find_format,
    force_calls,
    make_call_id,
)
from tests.facade.inference.test_tool_parser import NAMES, PARIS, parse


def test_a_template_shows_the_format() -> None:
    """By the words that calls begin with; JSON alone is what's left."""
    assert find_format("… <tool_call> …") is HERMES
    assert find_format("… [TOOL_CALLS] …") is MISTRAL
    assert find_format('Respond as {"name": …}') is LLAMA


def test_ids_are_what_templates_take() -> None:
    """Mistral's refuse all but nine letters and digits."""
    assert make_call_id(HERMES).startswith("call_")
    assert len(make_call_id(MISTRAL)) == 9
    assert make_call_id(MISTRAL).isalnum()


def test_forced_calls_are_read() -> None:
    """The arguments alone of one tool, or a list of calls; an answer that was cut off is text."""
    calls = '[{"name": "get_weather", "arguments": {"city": "Paris"}}]'

    assert parse(ForcedParser(NAMES, "get_weather"), ['{"city": ', '"Paris"}']) == [PARIS]
    assert parse(ForcedParser(NAMES, None), list(calls)) == [PARIS]
    assert parse(ForcedParser(NAMES, "get_weather"), ['{"city": "Par']) == ['{"city": "Par']
    assert parse(ForcedParser(NAMES, None), ["[]"]) == ["[]"]
    assert parse(ForcedParser(NAMES, None), []) == []


def test_a_forced_form_is_one_that_the_decoder_takes() -> None:
    """References within a tool's schema find their place in the whole."""
    llguidance = pytest.importorskip("llguidance")
    city = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
    nested = {"properties": {"city": {"$ref": "#/$defs/city"}}, "required": ["city"], "$defs": {"city": city}}
    schema = force_calls({"visit": nested, "stay": None}, None, single=True)

    assert schema["$defs"]["tool_0"]["properties"]["city"] == {"$ref": "#/$defs/tool_0/$defs/city"}
    assert schema["maxItems"] == 1
    grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
    is_unusable, reasons = llguidance.LLMatcher.validate_grammar_with_warnings(grammar)
    assert (is_unusable, reasons) == (False, [])
    assert force_calls({"visit": nested}, "visit", single=False) == {"type": "object", **nested}
