"""
Calls of tools: how families of models write them, and the form that makes a model call; pure.

Models write a call as they were taught, in one of a few forms (`HERMES`, `LLAMA`, `MISTRAL`), and the chat template
shows which. `facade.inference.tool_parser` finds them in an answer that may or may not have some.
"""

from __future__ import annotations

import secrets
import string
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MISTRAL_ID_CHARACTERS = 9
"""Length of a call's id; Mistral's chat templates refuse conversations with other ids."""


class Call(NamedTuple):
    """One call of a tool."""

    name: str
    """Which."""

    arguments: str
    """A JSON object."""


class CallFormat(NamedTuple):
    """How a family of models writes its calls: ``opening``, JSON, ``closing``."""

    opening: str
    """What a call begins with."""

    closing: str
    """What it ends with; may be missing at the answer's end."""

    is_bare: bool
    """Whether a call at the answer's start may go without its opening."""

    separators: str
    """What may stand between calls, beside white space."""

    skip_special_tokens: bool
    """False where the opening is a special token, which the answer's text would be without."""


HERMES = CallFormat("<tool_call>", "</tool_call>", is_bare=False, separators="", skip_special_tokens=True)
"""Nous Hermes, Qwen 2.5 and 3: an object with ``name`` and ``arguments`` between tags."""

LLAMA = CallFormat("<|python_tag|>", "", is_bare=True, separators=";", skip_special_tokens=True)
"""Llama 3, and whoever's template shows none of the others: the answer is an object, ``name`` and ``parameters``."""

MISTRAL = CallFormat("[TOOL_CALLS]", "", is_bare=True, separators="", skip_special_tokens=False)
"""Mistral: a list of objects with ``name`` and ``arguments``, after a special token."""


class AnswerParser(Protocol):
    """Takes an answer's text apart, piece by piece."""

    def feed(self, text: str) -> list[str | Call]:
        """
        Take the next piece.

        Args:
            text: What follows.

        Returns:
            What is certain by now, in its order: texts to show, and calls.
        """

    def finish(self) -> list[str | Call]:
        """
        Say that nothing follows.

        Returns:
            What had been held back.
        """


def find_format(template: str) -> CallFormat:
    """
    Find how a model writes its calls.

    Args:
        template: Its chat template.

    Returns:
        The format.
    """
    for call_format in (MISTRAL, HERMES):
        if call_format.opening in template:
            return call_format
    return LLAMA


def make_call_id(call_format: CallFormat) -> str:
    """
    Make an id for a call.

    Args:
        call_format: The model's.

    Returns:
        As OpenAI's look; as Mistral's templates want it where they will see it again.
    """
    if call_format is MISTRAL:
        letters = string.ascii_letters + string.digits
        return "".join(secrets.choice(letters) for _ in range(MISTRAL_ID_CHARACTERS))
    return f"call_{secrets.token_hex(12)}"


class ForcedParser:
    """
    Reads an answer whose form was forced: it is nothing but calls (`force_calls`).

    Args:
        names: What the model may call.

        name: What it must call, where that is one tool: the answer is its arguments alone.
    """

    def __init__(self, names: Collection[str], name: str | None) -> None:
        self._names = names
        self._name = name
        self._parts: list[str] = []

    def feed(self, text: str) -> list[str | Call]:
        """Take the next piece; see `AnswerParser`."""
        self._parts.append(text)
        return []

    def finish(self) -> list[str | Call]:
        """Say that nothing follows; an answer that was cut off is text. See `AnswerParser`."""
        text = "".join(self._parts)
        if self._name is None:
            calls = read_calls(text, self._names)
        else:
            arguments = _load(text)
            is_call = isinstance(arguments, dict)
            calls = [Call(self._name, orjson.dumps(arguments).decode())] if is_call else []
        return [*calls] or ([text] if text else [])


def force_calls(schemas: Mapping[str, Mapping[str, Any] | None], name: str | None, *, single: bool) -> Any:
    """
    Write the form of an answer that is nothing but calls.

    Args:
        schemas: JSON schemas of the tools' arguments, by name; None for a tool that takes none.

        name: What must be called, where that is one tool.

        single: Whether there may be one call only.

    Returns:
        A JSON schema.
    """
    if name is not None:
        return _arguments_schema(schemas[name])
    # Each tool's schema has a place of its own, so that references within it can't meet another tool's.
    places = {tool: f"tool_{index}" for index, tool in enumerate(schemas)}
    definitions = {
        places[tool]: _move_references(_arguments_schema(schema), f"#/$defs/{places[tool]}")
        for tool, schema in schemas.items()
    }
    items = [
        {
            "type": "object",
            "properties": {"name": {"const": tool}, "arguments": {"$ref": f"#/$defs/{place}"}},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool, place in places.items()
    ]
    most = {"maxItems": 1} if single else {}
    return {"type": "array", "minItems": 1, **most, "items": {"anyOf": items}, "$defs": definitions}


def read_calls(text: str, names: Collection[str]) -> list[Call]:
    """
    Read JSON as calls.

    Args:
        text: An object or a list of them, with ``name`` and ``arguments`` or, Llama's word, ``parameters``.

        names: What may be called.

    Returns:
        The calls; nothing if any of it is something else.
    """
    value = _load(text)
    calls = []
    for item in value if isinstance(value, list) else [value]:
        arguments = item.get("arguments", item.get("parameters", {})) if isinstance(item, dict) else None
        if not isinstance(arguments, dict) or item.get("name") not in names:
            return []
        calls.append(Call(item["name"], orjson.dumps(arguments).decode()))
    return calls


def _load(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _arguments_schema(schema: Mapping[str, Any] | None) -> dict[str, Any]:
    if schema is None:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return {"type": "object", **schema}


def _move_references(value: Any, place: str) -> Any:
    """Let a schema's references to its own parts find them at its new place."""
    if isinstance(value, dict):
        return {
            key: place + item[1:]
            if key == "$ref" and isinstance(item, str) and item.startswith("#")
            else _move_references(item, place)
            for key, item in value.items()
        }
    return [_move_references(item, place) for item in value] if isinstance(value, list) else value
