"""
Calls of tools, found in the text of an answer while it comes; pure.

Models write a call as they were taught, in one of a few forms (`HERMES`, `LLAMA`, `MISTRAL`), and the chat template
shows which. What comes before and after calls is text and goes on at once; what may be a call is held back until it is
whole, and what turns out to be none comes back as the text that it is. Rules a later editor must keep:

* How the answer was cut into pieces changes nothing: decisions depend on the text from an answer's start alone.
* Each character is looked at a bounded number of times, whatever a caller makes the model say.
"""

from __future__ import annotations

import re
import secrets
import string
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import orjson

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MAX_HELD_CHARACTERS = 64 * 1024
"""Longest call, in characters. From a longer one on, all is text."""

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


class ToolParser:
    """
    Finds calls that the model may make.

    Args:
        call_format: How it writes them.

        names: What it may call; a call of anything else is text.
    """

    def __init__(self, call_format: CallFormat, names: Collection[str]) -> None:
        self._format = call_format
        self._names = names
        self._held = ""
        self._may_be_bare = call_format.is_bare
        self._follows_call = False
        self._gave_up = False
        self._block: _Block | None = None

    def feed(self, text: str) -> list[str | Call]:
        """Take the next piece; see `AnswerParser`."""
        if self._gave_up:
            return [text] if text else []
        self._held += text
        return self._advance(is_end=False)

    def finish(self) -> list[str | Call]:
        """Say that nothing follows; see `AnswerParser`."""
        found = [] if self._gave_up else self._advance(is_end=True)
        rest, self._held = self._held, ""
        if rest and not (self._follows_call and not self._strip(rest)):
            found.append(rest)
        return found

    def _advance(self, *, is_end: bool) -> list[str | Call]:
        found: list[str | Call] = []
        while not self._gave_up:
            if self._block is None and not self._begin_block(found):
                return found
            assert self._block is not None  # noqa: S101  # begun above
            end = self._block.find_end(self._held, is_end=is_end)
            if end is None and not is_end and len(self._held) <= MAX_HELD_CHARACTERS:
                return found
            self._end_block(end, found)
        return found

    def _begin_block(self, found: list[str | Call]) -> bool:
        """Let go of what is certainly text; say whether what may be a call follows."""
        if self._follows_call:
            self._held = self._strip(self._held)
        start = re.match(r"\s*", self._held).end()  # type: ignore[union-attr]  # it always matches
        if start == len(self._held):
            return False
        opening = self._format.opening
        if self._may_be_bare and self._held[start] in "{[" and not self._held.startswith(opening, start):
            if opening.startswith(self._held[start:]):
                return False
            self._block = _Block(start, self._format.closing)
            return True
        at = self._held.find(opening)
        if at < 0:
            keep = self._find_undecided()
            if keep > start:
                # Not white space alone, and not the opening's beginning: the answer has begun, with text.
                self._may_be_bare = self._follows_call = False
            if keep:
                found.append(self._held[:keep])
            self._held = self._held[keep:]
            return False
        before = len(self._held[:at].rstrip())
        if before:
            found.append(self._held[:before])
            self._follows_call = False
            self._held = self._held[before:]
        self._block = _Block(at - before + len(opening), self._format.closing)
        return True

    def _find_undecided(self) -> int:
        """Find where the text's end begins that may be the beginning of an opening, or the space before one."""
        held, opening = self._held, self._format.opening
        length = next(
            (n for n in range(min(len(opening) - 1, len(held)), 0, -1) if held.endswith(opening[:n])), 0
        )
        return len(held[: len(held) - length].rstrip())

    def _end_block(self, end: int | None, found: list[str | Call]) -> None:
        """Make calls of what is held, or text."""
        block, self._block = self._block, None
        assert block is not None  # noqa: S101  # only called with one
        if end is None or end > MAX_HELD_CHARACTERS:
            self._gave_up = True
            found.append(self._held)
            self._held = ""
            return
        calls = block.read_calls(self._held, self._names)
        self._follows_call = self._may_be_bare = bool(calls)
        self._may_be_bare &= self._format.is_bare
        found.extend(calls or [self._held[:end]])
        self._held = self._held[end:]

    def _strip(self, text: str) -> str:
        """Drop what stands between calls."""
        return text.lstrip(string.whitespace + self._format.separators)


class _Block:
    """
    What may be a call: finds its end while it grows.

    Args:
        json_start: Where its JSON starts in the held text, or white space before it.

        closing: What follows its JSON; may be empty.
    """

    def __init__(self, json_start: int, closing: str) -> None:
        self._json_start = json_start
        self._json_end: int | None = None
        self._closing = closing
        self._at = json_start
        self._depth = 0
        self._in_string = False
        self._is_broken = False

    def find_end(self, held: str, *, is_end: bool) -> int | None:
        """Say where the block ends, whether it is a call or not; None if that isn't known yet."""
        if self._json_end is None:
            if self._depth == 0:
                self._at = len(held) - len(held[self._at :].lstrip())
                if self._at < len(held) and held[self._at] not in "{[":
                    self._is_broken = True
                    return self._at
            self._json_end = self._scan(held)
        if self._json_end is None or not self._closing:
            return self._json_end
        rest = held[self._json_end :].lstrip()
        if rest.startswith(self._closing):
            return len(held) - len(rest) + len(self._closing)
        if self._closing.startswith(rest):
            return len(held) if is_end else None
        self._is_broken = True
        return self._json_end

    def read_calls(self, held: str, names: Collection[str]) -> list[Call]:
        """Read the whole block; nothing if it is no call, or not only calls."""
        if self._is_broken or self._json_end is None:
            return []
        return read_calls(held[self._json_start : self._json_end], names)

    def _scan(self, held: str) -> int | None:
        """Go on to where the brackets are balanced."""
        while True:
            found = (_IN_STRING if self._in_string else _OUTSIDE).search(held, self._at)
            if found is None:
                self._at = len(held)
                return None
            mark = found[0]
            if mark == "\\":
                if found.end() == len(held):
                    self._at = found.start()
                    return None
                self._at = found.end() + 1
                continue
            self._at = found.end()
            if mark == '"':
                self._in_string = not self._in_string
                continue
            self._depth += 1 if mark in "{[" else -1
            if self._depth == 0:
                return self._at


_IN_STRING = re.compile(r'["\\]')
_OUTSIDE = re.compile(r'["{}\[\]]')


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
