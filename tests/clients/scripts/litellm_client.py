"""litellm as a client: chat, streams, embeddings, errors in OpenAI's classes."""

from __future__ import annotations

import asyncio
import os

import litellm

BASE_URL, KEY = os.environ["BASE_URL"], os.environ["API_KEY"]
ASKED = [{"role": "user", "content": "What is the capital of France?"}]


def main() -> None:
    """Ask everything once."""
    there = {"api_base": BASE_URL, "api_key": KEY}
    found = litellm.embedding(
        "openai/minilm", input=["one text", "another text"], encoding_format="float", **there
    )
    assert [len(one["embedding"]) for one in found.data] == [384, 384]

    chat = {"model": "openai/tiny-chat", "messages": ASKED, "temperature": 0, "max_tokens": 60, **there}
    whole = litellm.completion(**chat)
    text = whole.choices[0].message.content
    assert "Paris" in text
    assert whole.usage.completion_tokens > 0
    pieces = litellm.completion(stream=True, **chat)
    assert "".join(piece.choices[0].delta.content or "" for piece in pieces) == text
    assert asyncio.run(litellm.acompletion(**chat)).choices[0].message.content == text

    try:
        litellm.completion(**{**chat, "api_key": "wrong"})
    except litellm.AuthenticationError:
        return
    raise AssertionError("a wrong key was let in")


main()
