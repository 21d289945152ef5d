"""Messages of a conversation: as OpenAI's clients send them, and as chat templates read them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import orjson

from facade.errors import InvalidInput


class FunctionCall(msgspec.Struct):
    """``tool_calls[].function`` of a message."""

    name: str
    """Which function."""

    arguments: str
    """A JSON object, in a string."""


class ToolCall(msgspec.Struct, kw_only=True):
    """A call that the assistant made earlier."""

    id: str
    """What the tool's message answers to."""

    type: Literal["function"] = "function"
    """OpenAI's word; there are no others here."""

    function: FunctionCall
    """What was called."""


class ContentPart(msgspec.Struct):
    """A part of a message's content."""

    type: str
    """``text`` or, in what an assistant said, ``refusal``."""

    text: str | None = None
    """The text, where that is the type."""

    refusal: str | None = None
    """The refusal, where that is the type."""


class Message(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One message."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    """Who says it."""

    content: str | list[ContentPart] | None = None
    """What is said; may be left out where tools are called."""

    name: str | None = None
    """A name for who says it; up to the template."""

    tool_calls: list[ToolCall] | None = None
    """What the assistant called."""

    tool_call_id: str | None = None
    """Which call a tool's message answers."""

    reasoning_content: str | None = None
    """What the assistant thought before it answered; up to the template."""

    refusal: str | None = None
    """What the assistant said instead of an answer; read where there is no content."""

    audio: Any = None
    """Refused."""

    function_call: Any = None
    """Refused; ``tool_calls`` took its place."""

    annotations: Any = None
    """In OpenAI's own answers; accepted, so that they can be sent back, and not used."""


def read_messages(raw: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """
    Check a conversation, and write it as chat templates read it: contents are texts, calls' arguments objects.

    Args:
        raw: The request's ``messages``.

    Returns:
        One dictionary a message, with what the message has.

    Raises:
        InvalidInput: If a message can't be read; names it and its part.
    """
    if not raw:
        raise InvalidInput("'messages' must not be empty; send at least one.", param="messages")
    return [_read_message(message, f"messages[{index}]") for index, message in enumerate(raw)]


def _read_message(raw: dict[str, Any], place: str) -> dict[str, Any]:
    try:
        message = msgspec.convert(raw, Message)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `$")
        param = place + path.rstrip("`")
        raise InvalidInput(f"'{param}': {reason}.", param=param) from None
    for name in ("audio", "function_call"):
        if getattr(message, name) is not None:
            raise InvalidInput(f"'{place}.{name}' is not supported.", param=f"{place}.{name}")
    if message.tool_calls and message.role != "assistant":
        raise InvalidInput(f"'{place}.tool_calls' is only for the assistant.", param=f"{place}.tool_calls")
    content = _join(message.content, f"{place}.content")
    if content is None and message.refusal is not None:
        content = message.refusal
    if content is None and not message.tool_calls:
        raise InvalidInput(f"'{place}.content' is missing.", param=f"{place}.content")
    read: dict[str, Any] = {"role": message.role, "content": content or ""}
    for name in ("name", "tool_call_id", "reasoning_content"):
        if getattr(message, name) is not None:
            read[name] = getattr(message, name)
    if message.tool_calls:
        read["tool_calls"] = [
            _read_call(call, f"{place}.tool_calls[{index}]") for index, call in enumerate(message.tool_calls)
        ]
    return read


def _join(content: str | list[ContentPart] | None, place: str) -> str | None:
    """Make one text of a content's parts; a line each, as vLLM does."""
    if content is None or isinstance(content, str):
        return content
    texts = []
    for index, part in enumerate(content):
        param = f"{place}[{index}]"
        if part.type not in ("text", "refusal"):
            raise InvalidInput(
                f"'{param}' is of the type {part.type!r}; the model reads text only.", param=param
            )
        text = part.text if part.type == "text" else part.refusal
        if text is None:
            raise InvalidInput(f"'{param}.{part.type}' is missing.", param=f"{param}.{part.type}")
        texts.append(text)
    return "\n".join(texts)


def _read_call(call: ToolCall, place: str) -> dict[str, Any]:
    """Open a call's arguments: templates write the JSON themselves, and would put a string's in quotes."""
    param = f"{place}.function.arguments"
    try:
        arguments = orjson.loads(call.function.arguments or "{}")
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"'{param}' is no valid JSON: {error}.", param=param) from None
    if not isinstance(arguments, dict):
        raise InvalidInput(f"'{param}' must be a JSON object, in a string.", param=param)
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id, "type": "function", "function": function}
