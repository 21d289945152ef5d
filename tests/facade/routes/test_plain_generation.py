"""``/predict`` with a model that generates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.facade.conftest import until_served
from tests.facade.wire_generation import CHAT_CARD, chat_model

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


@pytest.fixture(name="chat", autouse=True)
async def _chat(triton: WireTriton, client: httpx.AsyncClient) -> None:
    """A model that generates, with a preference of its own."""
    triton.models["chat"] = chat_model({**CHAT_CARD, "default_sampling": {"temperature": 0.5}})
    await until_served(client, "chat")


async def test_a_prompt_gives_a_result(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """The guide's body works as it stands; the model's own defaults hold where the caller says nothing."""
    body = {"model": "chat", "prompt": "a b", "parameters": {"max_tokens": 3, "stop": "x"}}
    answer = await client.post("/predict", json=body)

    assert answer.json() == {
        "model": "chat",
        "version": 1,
        "task": "text-generation",
        "result": "Hello, world",
        "finish_reason": "length",
        "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
    }
    assert triton.generations == [("a b", {"max_tokens": 3, "stop": ["x"], "temperature": 0.5})]


async def test_a_list_gives_a_list(client: httpx.AsyncClient) -> None:
    """The result has the shape of the input; tokens are those of all."""
    answer = await client.post("/predict", json={"model": "chat", "inputs": ["a", "b c"]})

    body = answer.json()
    assert body["result"] == ["Hello, world!"] * 2
    assert body["finish_reason"] == ["stop", "stop"]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 8, "total_tokens": 11}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"prompt": "a", "parameters": {"temp": 1}}, "temp"),
        ({"prompt": "a", "parameters": {"top_p": 2}}, "top_p"),
        ({"prompt": "a", "parameters": {"max_tokens": "many"}}, "max_tokens"),
        ({"prompt": "a", "parameters": {"n": 2}}, "n"),
        ({"prompt": "a", "parameters": {"logprobs": 2}}, "logprobs"),
        ({"prompt": []}, "prompt"),
        ({"inputs": ["a", "\0"]}, "inputs[1]"),
    ],
)
async def test_bad_bodies_are_problems(
    client: httpx.AsyncClient, triton: WireTriton, body: dict[str, Any], param: str
) -> None:
    """With the field's name, before anything is queued."""
    answer = await client.post("/predict", json={"model": "chat", **body})

    assert (answer.status_code, answer.json()["param"]) == (400, param)
    assert not triton.generations


async def test_a_stream_is_one_answer(client: httpx.AsyncClient) -> None:
    """Several would have to be told apart."""
    body = {"model": "chat", "prompt": ["a", "b"]}
    answer = await client.post("/predict", json=body, headers={"Accept": "text/event-stream"})

    assert (answer.status_code, answer.json()["param"]) == (400, "prompt")
