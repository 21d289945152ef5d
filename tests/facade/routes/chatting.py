"""A model to chat with, and OpenAI's own client to do it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import openai

from tests.facade.conftest import KEY
from tests.facade.wire_generation import CHAT_CARD, chat_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

QWEN_LIKE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<tool_call>{"name": …, "arguments": …}</tool_call><|im_end|>
{% endif -%}
{%- for message in messages %}
{%- if message.role == "system" and not loop.first %}{{ raise_exception("system comes first") }}{% endif %}
{{- "<|im_start|>" + message.role + "\\n" + message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}
{{- "<|im_end|>\\n" }}
{%- endfor %}
{%- if add_generation_prompt %}{{ "<|im_start|>assistant\\n" }}{% endif %}
"""
"""ChatML with Hermes' calls, as Qwen's templates have it."""

PLAIN = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
"""Knows no tools."""


def chatting(template: str | None = QWEN_LIKE, **card: Any) -> dict[str, Any]:
    """Make an entry for `WireTriton.models`."""
    return chat_model({**CHAT_CARD, "chat_template": template, **card})


@asynccontextmanager
async def openai_client(client: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    """Make OpenAI's client of the same façade."""
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{client.base_url}/v1", max_retries=0) as made:
        yield made
