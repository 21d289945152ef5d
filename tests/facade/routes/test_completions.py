"""``/v1/completions``, as OpenAI's own client sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from openai.types import completion_create_params as openai_params

from facade.schemas.completions import CompletionsRequest
from tests.facade.conftest import until_served
from tests.facade.routes.chatting import chatting, openai_client
from tests.facade.wire_generation import chat_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx
    import openai

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _models(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """One model of ours, and one that only has vLLM's inputs."""
    triton.models["chat"] = chatting()
    triton.models["foreign"] = chat_model(card=None)
    await until_served(client, "chat", "foreign")


@pytest.fixture(name="api")
async def _api(client: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client."""
    async with openai_client(client) as api:
        yield api


async def test_a_prompt_is_gone_on_with(api: openai.AsyncOpenAI, triton: WireTriton) -> None:
    """By 16 tokens at most where nobody says; also by a model without a card."""
    for model in ("chat", "foreign"):
        answer = await api.completions.create(model=model, prompt="one two")

        (choice,) = answer.choices
        assert (answer.object, answer.model) == ("text_completion", model)
        assert (choice.text, choice.finish_reason, choice.logprobs) == ("Hello, world!", "stop", None)
        assert answer.usage is not None
        assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (2, 4)
        # vLLM's own default of max_tokens is 16.
        assert triton.generations[-1] == ("one two", {})


async def test_several_prompts_are_numbered_in_order(api: openai.AsyncOpenAI) -> None:
    """All answers to the first, then all to the second; whole and in chunks."""
    prompts = ["a b c", "d"]
    whole = await api.completions.create(model="chat", prompt=prompts, n=2, echo=True)
    stream = await api.completions.create(
        model="chat", prompt=prompts, n=2, echo=True, stream=True, stream_options={"include_usage": True}
    )
    texts = [""] * 4
    usages = []
    async for chunk in stream:
        usages.append(chunk.usage)
        for choice in chunk.choices:
            texts[choice.index] += choice.text

    expected = [f"{prompt}Hello, world!" for prompt in prompts for _ in range(2)]
    assert [choice.text for choice in whole.choices] == texts == expected
    assert [choice.index for choice in whole.choices] == [0, 1, 2, 3]
    assert whole.usage == usages[-1]
    assert whole.usage is not None
    assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (4, 16)
    assert usages[:-1] == [None] * 16


async def test_log_probabilities_have_openais_old_shape(api: openai.AsyncOpenAI) -> None:
    """Lists side by side, with each token's place in the text; in chunks the places go on."""
    whole = await api.completions.create(model="chat", prompt="x", logprobs=1)
    stream = await api.completions.create(model="chat", prompt="x", logprobs=1, stream=True)
    offsets = [
        offset
        async for chunk in stream
        if chunk.choices[0].logprobs
        for offset in chunk.choices[0].logprobs.text_offset or []
    ]

    found = whole.choices[0].logprobs
    assert found is not None
    assert found.tokens == ["Hello", ",", " world", "!"]
    assert found.token_logprobs == [-0.5] * 4
    assert found.text_offset == offsets == [0, 5, 6, 12]
    assert found.top_logprobs is not None
    assert found.top_logprobs[0] == {"Hello": -0.5, "other": -1.5}


async def test_one_prompts_failure_is_the_requests(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """And names the prompt; the others are given up."""
    triton.stream_failure = (0, grpc.StatusCode.INVALID_ARGUMENT, "'text_input' has 99 tokens")
    answer = await client.post("/v1/completions", json={"model": "chat", "prompt": ["a", "b"]})

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert error["param"] in {"prompt[0]", "prompt[1]"}


async def test_a_break_in_one_of_several_ends_the_stream(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """With an error event, and without ``[DONE]``."""
    triton.stream_failure = (2, grpc.StatusCode.INTERNAL, "out of luck")
    body = {"model": "chat", "prompt": ["a", "b"], "stream": True}
    answer = await client.post("/v1/completions", json=body)

    frames = answer.text.strip().split("\n\n")
    assert answer.status_code == 200
    assert "out of luck" in frames[-1]
    assert "[DONE]" not in answer.text


BAD_REQUESTS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": None}, "prompt"),
    ({"prompt": []}, "prompt"),
    ({"prompt": [1, 2, 3]}, "prompt[0]"),
    ({"prompt": ["a", [1]]}, "prompt[1]"),
    ({"prompt": ["a"] * 129}, "prompt"),
    ({"prompt": ["a"] * 65, "n": 2}, "prompt"),
    ({"suffix": "end"}, "suffix"),
    ({"best_of": 2}, "best_of"),
    ({"logprobs": 6}, "logprobs"),
    ({"logprobs": True}, "logprobs"),
    ({"logprobs": 1, "echo": True}, "echo"),
    ({"messages": []}, "messages"),
    ({"seed": 1.5}, "seed"),
    ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format.json_schema.name"),
    ({"model": "minilm"}, "model"),
]


async def test_bad_requests_are_refused_at_once(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """With the field's name, and without the model hearing of it."""
    for changes, param in BAD_REQUESTS:
        answer = await client.post("/v1/completions", json={"model": "chat", "prompt": "hi"} | changes)

        error = answer.json().get("error", {})
        assert (answer.status_code, error.get("param")) == (400, param), changes
    assert triton.generations == []


def test_every_field_of_openais_client_is_known() -> None:
    """Used, ignored or refused by name; never by accident."""
    theirs = set(openai_params.CompletionCreateParamsBase.__annotations__) | {"stream"}

    assert theirs <= set(CompletionsRequest.__struct_fields__)
