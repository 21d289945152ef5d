"""
Conversations to prompts: a model's own chat template, in a sandbox, with transformers' conventions.

A template comes with a model from wherever that came from, and what it walks over comes from callers. So it reaches
nothing but what it is given, changes nothing of that, and its work is counted: rounds of its loops, products of texts
and numbers, and what it writes. It runs on the event loop, as a usual conversation takes some 100 µs.

Source:
    https://huggingface.co/docs/transformers/chat_templating_writing
"""

from __future__ import annotations

import json
import re
import time
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension
from jinja2.sandbox import ImmutableSandboxedEnvironment

from facade.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from jinja2 import Template
    from jinja2.parser import Parser

    from facade.inference.catalogue import ModelCard

MAX_ROUNDS = 100_000
"""Most rounds of all loops of one rendering, nested ones included. A usual template makes some 5 a message."""

MAX_RENDER_S = 0.5
"""Longest rendering, in seconds of wall time; looked at in every round."""

MAX_PRODUCT = 1_000_000
"""Longest text or list, and largest number, that a template may make by a product."""

MAX_EXPONENT = 64
"""Largest exponent of a power."""

MAX_INDENT = 16
"""Widest indentation of JSON, in spaces."""

_PADDING = frozenset({"center", "expandtabs", "format_map", "ljust", "rjust", "zfill"})
"""Methods of texts that make a long one of a short one and a number; no template that we know needs them."""

_WIDE_FORMAT = re.compile(r"%[^%a-zA-Z]*(?:[0-9]{4}|\*)")
"""A format with a width that makes a long text of a short one, or that a value gives."""

_TICK = "facade_tick"
"""The name under which a template finds its meter; no caller's variable may take it."""

RESERVED = frozenset({"messages", "tools", "documents", "add_generation_prompt", _TICK})
"""Names that no variable of the caller's may take."""


class RenderStopped(Exception):
    """A template worked or wrote too much."""


class _Meter:
    """Counts one rendering's rounds."""

    __slots__ = ("_rounds", "_until")

    def __init__(self) -> None:
        self._rounds = 0
        self._until = time.monotonic() + MAX_RENDER_S

    def tick(self) -> str:
        """Count a round; writes nothing."""
        self._rounds += 1
        if self._rounds > MAX_ROUNDS or time.monotonic() > self._until:
            raise RenderStopped
        return ""


class _GenerationTag(Extension):
    """``{% generation %}``: marks what the assistant said, for training; here it is only its content."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox, with loops that are counted and products that are bounded."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        template = super()._parse(source, name, filename)
        # Each round begins by writing what the meter gives, which is nothing.
        for loop in template.find_all(nodes.For):
            tick = nodes.Call(nodes.Name(_TICK, "load"), [], [], None, None)
            loop.body.insert(0, nodes.Output([tick], lineno=loop.lineno))
            tick.set_lineno(loop.lineno)
        template.set_environment(self)
        return template

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "%" and isinstance(left, str):
            return _format(left, *(right if isinstance(right, tuple) else (right,)))
        sizes = [len(side) if isinstance(side, str | list | tuple) else abs(side) for side in (left, right)]
        is_large = sizes[0] * sizes[1] > MAX_PRODUCT if operator == "*" else sizes[1] > MAX_EXPONENT
        if operator != "%" and is_large:
            raise RenderStopped
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:
        is_padding = isinstance(obj, str) and attr in _PADDING
        return not is_padding and super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        wrapped = super().wrap_str_format(value)
        if wrapped is not None and ":" in value.__self__:
            raise SecurityError("the template formats with widths, which is not possible here")
        return wrapped


class ChatTemplate(NamedTuple):
    """A template that can be used."""

    template: Template
    """Compiled."""

    names: frozenset[str]
    """Variables that it reads."""

    source: str
    """As it was written."""


def find_template(card: ModelCard, model_name: str) -> ChatTemplate:
    """
    Find a model's chat template.

    Args:
        card: The model's.

        model_name: For the message.

    Returns:
        The template.

    Raises:
        InvalidInput: If the model has none, or one that can't be read.
    """
    if not card.chat_template:
        raise InvalidInput(
            f"The model {model_name!r} has no chat template in its model card; send a whole prompt to "
            "/v1/completions, or export the model with a template.",
            param="model",
        )
    try:
        return _compile(card.chat_template)
    except TemplateSyntaxError as error:
        raise InvalidInput(
            f"The chat template of the model {model_name!r} can't be read: {error}.", param="model"
        ) from None


def render_prompt(
    chat: ChatTemplate,
    card: ModelCard,
    messages: Sequence[Mapping[str, Any]],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    variables: Mapping[str, Any] | None = None,
    add_generation_prompt: bool = True,
    max_bytes: int,
) -> str:
    """
    Write a conversation as the model was taught to read it.

    Args:
        chat: The model's template.

        card: The model's.

        messages: As transformers' templates know them: texts as content.

        tools: What the model may call, in OpenAI's shape.

        variables: What else the template is given.

        add_generation_prompt: Whether the prompt ends where the assistant's answer begins.

        max_bytes: Longest prompt, in bytes of UTF-8.

    Returns:
        The prompt; without the first bos_token if the model's tokenizer adds one by itself.

    Raises:
        InvalidInput: If the template refuses the conversation, or if that takes too much.
    """
    spoken = [_speak(message, chat) for message in messages]
    given = {
        **card.special_tokens,
        **(variables or {}),
        "messages": spoken,
        "tools": list(tools) or None,
        "documents": None,
        "add_generation_prompt": add_generation_prompt,
        _TICK: _Meter().tick,
    }
    prompt = _write(chat, given, max_bytes)
    bos = card.special_tokens.get("bos_token", "")
    return prompt[len(bos) :] if card.adds_bos and bos and prompt.startswith(bos) else prompt


def _speak(message: Mapping[str, Any], chat: ChatTemplate) -> Mapping[str, Any]:
    """Say ``system`` for OpenAI's newer ``developer`` to templates that don't know the word."""
    if message["role"] == "developer" and "developer" not in chat.source:
        return {**message, "role": "system"}
    return message


def _write(chat: ChatTemplate, given: Mapping[str, Any], max_bytes: int) -> str:
    """Run a template; what it does wrong is the request's fault or the model's, and never ours."""
    parts = []
    size = 0
    try:
        for part in chat.template.generate(**given):
            size += len(part.encode())
            if size > max_bytes:
                break
            parts.append(part)
    except TemplateError as error:
        raise InvalidInput(
            f"The model's chat template refuses 'messages': {error.message}.", param="messages"
        ) from None
    except (RenderStopped, RecursionError, MemoryError, OverflowError):
        raise InvalidInput(
            "'messages' is more than the model's chat template can go through; send less.", param="messages"
        ) from None
    except Exception as error:  # noqa: BLE001  # a template can run into anything that Python can
        raise InvalidInput(
            f"The model's chat template can't go through 'messages': {error}.", param="messages"
        ) from None
    if size > max_bytes:
        raise InvalidInput(
            f"'messages' make a prompt of more than {max_bytes} bytes; send less.",
            param="messages",
            code="context_length_exceeded",
        )
    return "".join(parts)


@lru_cache(maxsize=32)
def _compile(source: str) -> ChatTemplate:
    sandbox = _Sandbox(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"]
    )
    del sandbox.filters["center"], sandbox.globals["lipsum"]
    sandbox.filters["format"] = _format
    sandbox.filters["tojson"] = _to_json
    sandbox.globals["raise_exception"] = _raise
    sandbox.globals["strftime_now"] = _strftime_now
    names = meta.find_undeclared_variables(sandbox.parse(source))
    return ChatTemplate(sandbox.from_string(source), frozenset(names), source)


def _format(pattern: str, *values: Any, **named: Any) -> str:
    """Format as Python's ``%`` does, within bounds."""
    if _WIDE_FORMAT.search(pattern):
        raise SecurityError("the template formats with widths, which is not possible here")
    return pattern % (named or values)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005  # transformers' templates mean the local date


def _to_json(
    value: Any,
    ensure_ascii: bool = False,  # noqa: FBT001, FBT002  # transformers' parameters, which templates give
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,  # noqa: FBT001, FBT002
) -> str:
    """Write JSON as it is: Jinja's own filter escapes what HTML can't have."""
    if indent is not None and indent > MAX_INDENT:
        raise RenderStopped
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
