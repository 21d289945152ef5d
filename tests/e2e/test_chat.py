"""What OpenAI's client asks of a chat beside its text, of the real decoder: forms, calls, likely tokens, the cache."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import openai
import pytest

from tests.stack import KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stack import Facade

pytestmark = pytest.mark.e2e

MODEL = "tiny-chat"
ASKED: list[Any] = [{"role": "user", "content": "What is the capital of France?"}]
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "days": {"type": "integer", "minimum": 1, "maximum": 7},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
PLACE = {
    "type": "object",
    "properties": {"place": {"$ref": "#/$defs/place"}},
    "required": ["place"],
    "additionalProperties": False,
    "$defs": {"place": {"type": "string", "enum": ["home", "work"]}},
}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "go", "parameters": PLACE}},
]


@pytest.fixture(name="client", scope="module")
def _client(facade: Facade) -> Iterator[openai.OpenAI]:
    """OpenAI's own client."""
    with openai.OpenAI(base_url=f"{facade.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def test_an_answer_keeps_to_its_schema(client: openai.OpenAI) -> None:
    """A toy that never saw such a thing can't help it."""
    form: Any = {"type": "json_schema", "json_schema": {"name": "trip", "schema": CITY, "strict": True}}
    answer = client.chat.completions.create(
        model=MODEL, messages=ASKED, response_format=form, max_tokens=200, seed=1
    )

    found = json.loads(answer.choices[0].message.content or "")
    assert answer.choices[0].finish_reason == "stop"
    assert found["city"] in {"Paris", "Rome"}
    assert 1 <= found["days"] <= 7


def test_a_choice_is_one_of_those_given(client: openai.OpenAI) -> None:
    """VLLM's constraints come the same way."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ASKED, extra_body={"structured_outputs": {"choice": ["Oslo", "Lima"]}}
    )

    assert answer.choices[0].message.content in {"Oslo", "Lima"}


def test_a_call_can_be_forced(client: openai.OpenAI) -> None:
    """Of one tool, or of any; whole and streamed."""
    named = client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        tools=TOOLS,
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        max_tokens=200,
        seed=2,
    )
    stream = client.chat.completions.create(
        model=MODEL,
        messages=ASKED,
        tools=TOOLS,
        tool_choice="required",
        parallel_tool_calls=False,
        max_tokens=400,
        seed=3,
        stream=True,
    )
    chunks = [chunk.choices[0] for chunk in stream]

    (call,) = named.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert json.loads(call.function.arguments)["city"] in {"Paris", "Rome"}
    (delta,) = [call for choice in chunks for call in choice.delta.tool_calls or []]
    assert delta.function is not None
    assert delta.function.name in {"get_weather", "go"}
    assert set(json.loads(delta.function.arguments or "")) in ({"city", "days"}, {"place"})
    assert [named.choices[0].finish_reason, chunks[-1].finish_reason] == ["tool_calls", "tool_calls"]


def test_likely_tokens_make_up_the_answer(client: openai.OpenAI) -> None:
    """The chosen one is the likeliest, at temperature 0, and their texts are the answer's."""
    answer = client.chat.completions.create(
        model=MODEL, messages=ASKED, temperature=0, logprobs=True, top_logprobs=3, max_tokens=16
    )

    (choice,) = answer.choices
    assert choice.logprobs is not None
    entries = choice.logprobs.content or []
    assert "".join(entry.token for entry in entries).startswith(choice.message.content or "")
    assert choice.message.content
    for entry in entries:
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == entry.logprob <= 0


def test_a_seed_repeats_answers_and_a_new_one_does_not(client: openai.OpenAI) -> None:
    """Computed again, and not out of the cache."""
    texts = [
        client.chat.completions.create(
            model=MODEL,
            messages=ASKED,
            temperature=1.5,
            seed=seed,
            n=2,
            max_tokens=24,
            extra_headers={"Cache-Control": "no-cache"},
        )
        for seed in (7, 7, 8)
    ]
    first, again, other = ([choice.message.content for choice in answer.choices] for answer in texts)

    assert first == again
    assert first != other
    assert first[0] != first[1]


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"messages": [{"role": "user", "content": "word " * 5_000}]}, "messages"),
        ({"logit_bias": {"99999999": 1}}, "logit_bias"),
        (
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "a", "schema": {"type": "odd"}},
                }
            },
            "response_format",
        ),
        ({"extra_body": {"structured_outputs": {"regex": "(("}}}, "structured_outputs"),
        ({"n": 100}, "n"),
    ],
)
def test_what_only_the_model_can_judge_is_refused_too(
    client: openai.OpenAI, changes: dict[str, Any], param: str
) -> None:
    """With the caller's own name for it, also where a stream was asked for."""
    for stream in (False, True):
        with pytest.raises(openai.BadRequestError) as refused:
            client.chat.completions.create(
                **({"model": MODEL, "messages": ASKED, "stream": stream} | changes)
            )
        assert refused.value.param == param
