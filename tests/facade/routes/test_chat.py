"""``/v1/chat/completions``, as OpenAI's own client sees it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import openai
import pytest
from openai.types.chat import completion_create_params as openai_params

from facade.schemas.chat import ChatRequest
from tests.facade.conftest import KEY, until_served
from tests.facade.routes.chatting import PLAIN, chatting, openai_client

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

HI: list[Any] = [{"role": "user", "content": "hi"}]
CHATML_HI = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(autouse=True)
async def _models(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """One model with tools in its template, one without, one without a template."""
    triton.models["chat"] = chatting(max_model_len=64)
    triton.models["plain"] = chatting(PLAIN)
    triton.models["bare"] = chatting(None)
    await until_served(client, "chat", "plain", "bare")


@pytest.fixture(name="api")
async def _api(client: httpx.AsyncClient) -> AsyncIterator[openai.AsyncOpenAI]:
    """OpenAI's client."""
    async with openai_client(client) as api:
        yield api


async def test_a_conversation_is_answered(api: openai.AsyncOpenAI, triton: WireTriton) -> None:
    """The template makes the prompt; the answer may take what the context leaves."""
    answer = await api.chat.completions.create(model="chat", messages=HI)

    (choice,) = answer.choices
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert (answer.model, answer.system_fingerprint) == ("chat", "v1")
    assert (choice.message.role, choice.message.content) == ("assistant", "Hello, world!")
    assert (choice.finish_reason, choice.logprobs) == ("stop", None)
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (
        3,
        4,
        7,
    )
    assert triton.generations == [(CHATML_HI, {"max_tokens": 64})]


async def test_a_conversation_is_streamed(api: openai.AsyncOpenAI) -> None:
    """Role, contents, reason and usage in chunks with one id."""
    stream = await api.chat.completions.create(
        model="chat", messages=HI, stream=True, stream_options={"include_usage": True}, max_tokens=3
    )
    chunks = [chunk async for chunk in stream]

    deltas = [chunk.choices[0].delta for chunk in chunks[:-1]]
    assert {(chunk.id, chunk.created, chunk.object) for chunk in chunks} == {
        (chunks[0].id, chunks[0].created, "chat.completion.chunk")
    }
    assert [delta.role for delta in deltas] == ["assistant", None, None, None, None]
    assert [delta.content for delta in deltas] == ["", "Hello", ",", " world", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1]] == [None] * 4 + ["length"]
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


async def test_frames_are_openais_to_the_letter(client: httpx.AsyncClient) -> None:
    """``usage`` is null until the end if it was asked for, and absent if not; ``[DONE]`` is last."""
    body = {"model": "chat", "messages": HI, "stream": True}
    bare = (await client.post("/v1/chat/completions", json=body)).text.split("\n\n")
    answer = await client.post(
        "/v1/chat/completions", json={**body, "stream_options": {"include_usage": True}}
    )
    frames = answer.text.split("\n\n")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert frames[-2:] == bare[-2:] == ["data: [DONE]", ""]
    first = json.loads(frames[0].removeprefix("data: "))
    assert first["choices"] == [
        {"index": 0, "delta": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": None}
    ]
    assert first["usage"] is None
    assert all("usage" not in frame for frame in bare)


async def test_the_synchronous_client_works(client: httpx.AsyncClient) -> None:
    """Whole and as a stream."""

    def call() -> tuple[str | None, str]:
        with openai.OpenAI(api_key=KEY, base_url=f"{client.base_url}/v1", max_retries=0) as api:
            whole = api.chat.completions.create(model="chat", messages=HI)
            with api.chat.completions.create(model="chat", messages=HI, stream=True) as stream:
                parts = [chunk.choices[0].delta.content or "" for chunk in stream]
            return whole.choices[0].message.content, "".join(parts)

    assert await asyncio.to_thread(call) == ("Hello, world!", "Hello, world!")


async def test_several_answers_are_told_apart(api: openai.AsyncOpenAI) -> None:
    """Whole and in chunks; each begins with its role."""
    whole = await api.chat.completions.create(model="chat", messages=HI, n=3)
    stream = await api.chat.completions.create(model="chat", messages=HI, n=3, stream=True)
    texts = ["", "", ""]
    roles = []
    async for chunk in stream:
        (choice,) = chunk.choices
        texts[choice.index] += choice.delta.content or ""
        roles += [choice.index] if choice.delta.role else []

    assert [(choice.index, choice.message.content) for choice in whole.choices] == [
        (index, "Hello, world!") for index in range(3)
    ]
    assert texts == ["Hello, world!"] * 3
    assert sorted(roles) == [0, 1, 2]
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 12


async def test_log_probabilities_have_openais_shape(api: openai.AsyncOpenAI, triton: WireTriton) -> None:
    """As many alternatives as asked for, and bytes where they are known."""
    triton.script = ["é", "\ufffd"]
    answer = await api.chat.completions.create(model="chat", messages=HI, logprobs=True, top_logprobs=1)
    alone = await api.chat.completions.create(model="chat", messages=HI, logprobs=True)
    stream = await api.chat.completions.create(model="chat", messages=HI, logprobs=True, stream=True)
    chunks = [chunk.choices[0].logprobs async for chunk in stream]

    assert answer.choices[0].logprobs is not None
    content = answer.choices[0].logprobs.content or []
    assert [(entry.token, entry.logprob, entry.bytes) for entry in content] == [
        ("é", -0.5, [0xC3, 0xA9]),
        ("\ufffd", -0.5, None),
    ]
    assert [len(entry.top_logprobs) for entry in content] == [1, 1]
    assert alone.choices[0].logprobs is not None
    assert [entry.top_logprobs for entry in alone.choices[0].logprobs.content or []] == [[], []]
    assert [entry.token for found in chunks if found for entry in found.content or []] == ["é", "\ufffd"]


async def test_parameters_reach_the_model(
    client: httpx.AsyncClient, api: openai.AsyncOpenAI, triton: WireTriton
) -> None:
    """OpenAI's and vLLM's, under vLLM's names; what nobody says is the card's."""
    triton.models["tuned"] = chatting(default_sampling={"temperature": 0.7, "top_k": 40})
    await until_served(client, "tuned")
    await api.chat.completions.create(
        model="tuned",
        messages=HI,
        temperature=0.5,
        top_p=0.9,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logit_bias={"7": -100},
        stop="END",
        max_completion_tokens=9,
        extra_body={"min_p": 0.1, "repetition_penalty": 1.1, "min_tokens": 2, "stop_token_ids": [5]},
    )

    assert triton.generations[-1][1] == {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 40,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "presence_penalty": 0.1,
        "frequency_penalty": 0.2,
        "logit_bias": {"7": -100.0},
        "stop": ["END"],
        "stop_token_ids": [5],
        "max_tokens": 9,
        "min_tokens": 2,
    }


async def test_calls_are_answers(api: openai.AsyncOpenAI, triton: WireTriton) -> None:
    """The template shows the tools; what the model writes becomes calls, and their answers go back."""
    triton.script = [
        "Let me",
        " see.\n<tool",
        '_call>{"name": "get_weather", "arguments"',
        ': {"city": "Rome"}}</tool_call>',
    ]
    answer = await api.chat.completions.create(model="chat", messages=HI, tools=[WEATHER])
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls or []
    assert call.type == "function"

    assert (choice.message.content, choice.finish_reason) == ("Let me see.", "tool_calls")
    assert call.id.startswith("call_")
    assert (call.function.name, json.loads(call.function.arguments)) == ("get_weather", {"city": "Rome"})
    assert json.dumps(WEATHER) in triton.generations[-1][0]

    said: Any = choice.message.model_dump()
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    await api.chat.completions.create(model="chat", messages=[*HI, said, result], tools=[WEATHER])

    assert (
        'Let me see.<tool_call>{"name": "get_weather", "arguments": {"city": "Rome"}}</tool_call><|im_end|>\n'
        "<|im_start|>tool\nsunny<|im_end|>"
    ) in triton.generations[-1][0]


async def test_calls_are_streamed(api: openai.AsyncOpenAI, triton: WireTriton) -> None:
    """Each whole, as one delta with its place; nothing of its text is shown."""
    call = '<tool_call>{"name": "get_weather", "arguments": {"city": "Rome"}}</tool_call>'
    triton.script = [*call, "\n", *call]
    stream = await api.chat.completions.create(
        model="chat", messages=HI, tools=[WEATHER], stream=True, max_tokens=500
    )
    chunks = [chunk.choices[0] async for chunk in stream]

    calls = [call for choice in chunks for call in choice.delta.tool_calls or []]
    assert "".join(choice.delta.content or "" for choice in chunks) == ""
    assert [(call.index, call.function and call.function.name) for call in calls] == [
        (0, "get_weather"),
        (1, "get_weather"),
    ]
    assert chunks[-1].finish_reason == "tool_calls"

    single = await api.chat.completions.create(
        model="chat", messages=HI, tools=[WEATHER], parallel_tool_calls=False, max_tokens=500
    )
    assert len(single.choices[0].message.tool_calls or []) == 1


async def test_a_call_can_be_forced(api: openai.AsyncOpenAI, triton: WireTriton) -> None:
    """One tool by its arguments' schema, any by a list of calls."""
    triton.script = ['{"city":', ' "Rome"}']
    named = await api.chat.completions.create(
        model="chat",
        messages=HI,
        tools=[WEATHER],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
    )
    named_form = json.loads(triton.generations[-1][1]["structured_outputs"])
    triton.script = ['[{"name": "get_weather", ', '"arguments": {"city": "Rome"}}]']
    required = await api.chat.completions.create(
        model="chat", messages=HI, tools=[WEATHER], tool_choice="required"
    )
    required_form = json.loads(triton.generations[-1][1]["structured_outputs"])
    triton.script = ["no call"]
    none = await api.chat.completions.create(model="chat", messages=HI, tools=[WEATHER], tool_choice="none")

    for answer in (named, required):
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"city": "Rome"}
        assert (answer.choices[0].finish_reason, answer.choices[0].message.content) == ("tool_calls", None)
    assert named_form == {"json": WEATHER["function"]["parameters"]}
    assert required_form["json"]["$defs"]["tool_0"] == WEATHER["function"]["parameters"]
    assert none.choices[0].message.tool_calls is None
    assert triton.generations[-1][0] == CHATML_HI


@pytest.mark.parametrize(
    ("response_format", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"json_object": True}),
        (
            {
                "type": "json_schema",
                "json_schema": {"name": "n", "strict": True, "schema": {"type": "object"}},
            },
            {"json": {"type": "object"}},
        ),
    ],
)
async def test_answers_keep_to_a_form(
    api: openai.AsyncOpenAI, triton: WireTriton, response_format: Any, expected: Any
) -> None:
    """``response_format`` becomes vLLM's ``structured_outputs``."""
    await api.chat.completions.create(model="chat", messages=HI, response_format=response_format)

    found = triton.generations[-1][1].get("structured_outputs")
    assert (None if found is None else json.loads(found)) == expected


async def test_what_does_not_matter_shares_the_cache(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """Streamed or not, whoever asks; ids are new each time."""
    body = {"model": "chat", "messages": HI, "temperature": 0}
    first = await client.post("/v1/chat/completions", json={**body, "user": "a"})
    second = await client.post("/v1/chat/completions", json={**body, "user": "b", "metadata": {"a": "b"}})
    streamed = await client.post("/v1/chat/completions", json={**body, "stream": True})

    assert [answer.headers["x-cache"] for answer in (first, second, streamed)] == [
        "miss",
        "hit-memory",
        "hit-memory",
    ]
    assert first.json()["choices"] == second.json()["choices"]
    assert first.json()["id"] != second.json()["id"]
    assert "Hello" in streamed.text
    assert len(triton.generations) == 1


async def test_an_error_in_a_stream_is_its_last_event(api: openai.AsyncOpenAI, triton: WireTriton) -> None:
    """In OpenAI's error object, which its client raises."""
    triton.stream_failure = (2, grpc.StatusCode.INTERNAL, "out of luck")
    stream = await api.chat.completions.create(model="chat", messages=HI, stream=True)
    texts = [(await anext(stream)).choices[0].delta.content for _ in range(3)]
    with pytest.raises(openai.APIError, match="out of luck"):
        await anext(stream)

    assert texts == ["", "Hello", ","]


@pytest.mark.parametrize(
    ("text", "changes", "param"),
    [
        ("'text_input' has 99 tokens; the model reads at most 63", {}, "messages"),
        (
            "'structured_outputs' has an unusable json: no.",
            {"response_format": {"type": "json_object"}},
            "response_format",
        ),
        (
            "'structured_outputs' has an unusable json: no.",
            {"tools": [WEATHER], "tool_choice": "required"},
            "tools",
        ),
        ("'max_tokens' is odd", {"max_completion_tokens": 3}, "max_completion_tokens"),
    ],
)
async def test_the_models_complaints_name_the_callers_field(
    client: httpx.AsyncClient, triton: WireTriton, text: str, changes: dict[str, Any], param: str
) -> None:
    """Before anything is sent, so that it is a 400."""
    triton.stream_failure = (0, grpc.StatusCode.INVALID_ARGUMENT, text)
    for stream in (False, True):
        body = {"model": "chat", "messages": HI, "stream": stream, **changes}
        answer = await client.post("/v1/chat/completions", json=body)

        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
        assert f"'{param}'" in error["message"]


def of(**changes: Any) -> dict[str, Any]:
    """Say what differs from a good request."""
    return changes


CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{"}}


BAD_REQUESTS = [
    (of(messages=[]), "messages"),
    (of(messages="hi"), "messages"),
    (of(messages=[{"role": "user"}]), "messages[0].content"),
    (of(messages=[*HI, {"role": "pirate", "content": "x"}]), "messages[1].role"),
    (of(messages=[*HI, {"role": "system", "content": "late"}]), "messages"),
    (
        of(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}]),
        "messages[0].content[1]",
    ),
    (of(messages=[{"role": "user", "content": [{"type": "text"}]}]), "messages[0].content[0].text"),
    (of(messages=[{"role": "user", "content": "a", "tool_calls": [CALL]}]), "messages[0].tool_calls"),
    (
        of(messages=[{"role": "assistant", "tool_calls": [CALL]}]),
        "messages[0].tool_calls[0].function.arguments",
    ),
    (of(messages=[{"role": "user", "content": "x" * 300_000}]), "messages"),
    (of(model="minilm"), "model"),
    (of(model="bare"), "model"),
    (of(model="plain", tools=[WEATHER]), "tools"),
    (of(temperature=3), "temperature"),
    (of(temperature="hot"), "temperature"),
    (of(top_p=0), "top_p"),
    (of(presence_penalty=5), "presence_penalty"),
    (of(logit_bias={"word": 1}), "logit_bias"),
    (of(n=5), "n"),
    (of(n=0), "n"),
    (of(n=10**30), "n"),
    (of(seed=2**70), "seed"),
    (of(max_tokens=2**70), "max_tokens"),
    (of(max_tokens=0), "max_tokens"),
    (of(max_tokens=1, max_completion_tokens=2), "max_tokens"),
    (of(stop=[""]), "stop"),
    (of(stop=["x"] * 33), "stop"),
    (of(top_logprobs=2), "top_logprobs"),
    (of(logprobs=True, top_logprobs=6), "top_logprobs"),
    (of(logprobs=True, top_logprobs=-1), "top_logprobs"),
    (of(stream_options={"include_usage": True}), "stream_options"),
    (of(warmth=1), "warmth"),
    (of(stream=True, stream_options={"usage": True}), "stream_options.usage"),
    (of(functions=[WEATHER["function"]]), "functions"),
    (of(modalities=["audio"]), "modalities"),
    (of(web_search_options={}), "web_search_options"),
    (of(chat_template="{{ 1 }}"), "chat_template"),
    (of(chat_template_kwargs={"messages": []}), "chat_template_kwargs.messages"),
    (of(tool_choice="required"), "tool_choice"),
    (of(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "x"}}), "tool_choice"),
    (of(tools=[WEATHER, WEATHER]), "tools[1].function.name"),
    (of(tools=[{"type": "custom", "custom": {"name": "x"}}]), "tools[0].type"),
    (of(tools=[{"type": "function", "function": {"name": "with space"}}]), "tools[0].function.name"),
    (of(tools=[WEATHER], response_format={"type": "json_object"}), "response_format"),
    (of(response_format={"type": "xml"}), "response_format.type"),
    (of(response_format={"type": "json_schema"}), "response_format.json_schema.schema"),
    (of(structured_outputs={"a": 1}), "structured_outputs"),
    (of(structured_outputs={"regex": "a" * 70_000}), "structured_outputs"),
    (of(structured_outputs={"regex": "a"}, response_format={"type": "json_object"}), "structured_outputs"),
]


async def test_bad_requests_are_refused_at_once(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """With the field's name, and without the model hearing of it."""
    for changes, param in BAD_REQUESTS:
        answer = await client.post("/v1/chat/completions", json={"model": "chat", "messages": HI} | changes)

        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, param), changes
    assert triton.generations == []


def test_every_field_of_openais_client_is_known() -> None:
    """Used, ignored or refused by name; never by accident."""
    theirs = set(openai_params.CompletionCreateParamsBase.__annotations__) | {"stream"}

    assert theirs <= set(ChatRequest.__struct_fields__)


async def test_mistrals_calls_are_not_lost_with_special_tokens(
    client: httpx.AsyncClient, api: openai.AsyncOpenAI, triton: WireTriton
) -> None:
    """What its calls begin with is a special token, which answers come without unless asked for."""
    triton.models["mistral"] = chatting(
        "{{ '[AVAILABLE_TOOLS]' + tools | tojson if tools else '' }}{{ messages[0].content }}{# [TOOL_CALLS] #}"
    )
    await until_served(client, "mistral")
    triton.script = ["[TOOL_CALLS]", '[{"name": "get_weather", "arguments": {}}]']
    answer = await api.chat.completions.create(model="mistral", messages=HI, tools=[WEATHER])
    with_tools = triton.generations[-1][1]
    await api.chat.completions.create(model="mistral", messages=HI)

    (call,) = answer.choices[0].message.tool_calls or []
    assert len(call.id) == 9
    assert with_tools["skip_special_tokens"] is False
    assert "skip_special_tokens" not in triton.generations[-1][1]
