"""Messages are read as OpenAI's clients send them, and written as templates read them."""

from __future__ import annotations

from typing import Any

import pytest

from facade.errors import InvalidInput
from facade.schemas.messages import read_messages


def test_parts_become_lines() -> None:
    """Texts and refusals; nothing is lost."""
    parts = [
        {"type": "text", "text": "one"},
        {"type": "text", "text": "two"},
        {"type": "refusal", "refusal": "no"},
    ]

    assert read_messages([{"role": "user", "content": parts}]) == [
        {"role": "user", "content": "one\ntwo\nno"}
    ]


def test_an_answer_can_be_sent_back_as_it_came() -> None:
    """With all the nulls of OpenAI's message object; calls' arguments are opened for the template."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"b": [1, "é"]}'}}
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}
    nulls = {"audio": None, "function_call": None, "annotations": []}

    assert read_messages([message | nulls]) == [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": {"b": [1, "é"]}}}
            ],
        }
    ]


def test_a_tools_answer_keeps_its_id() -> None:
    """The template may want to show it."""
    message = {"role": "tool", "tool_call_id": "a", "content": "sunny", "name": "weather"}

    assert read_messages([message]) == [message]


@pytest.mark.parametrize("arguments", ["{", "[1]", "7", '"text"', "{'a': 1}"])
def test_arguments_must_be_an_object(arguments: str) -> None:
    """The call is named."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": arguments}}
    with pytest.raises(InvalidInput) as refused:
        read_messages([{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}])

    assert refused.value.param == "messages[1].tool_calls[0].function.arguments"


def test_unknown_fields_are_refused() -> None:
    """A misspelt one would change what the model reads."""
    with pytest.raises(InvalidInput, match="contnet"):
        read_messages([{"role": "user", "contnet": "a"}])
