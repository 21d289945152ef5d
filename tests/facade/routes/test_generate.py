"""Triton's generate extension: its fields, its shapes, its refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.facade.conftest import until_served
from tests.facade.wire_generation import chat_model

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

URL = "/v2/models/chat/generate"


@pytest.fixture(name="chat", autouse=True)
async def _chat(triton: WireTriton, client: httpx.AsyncClient) -> None:
    """A model that generates."""
    triton.models["chat"] = chat_model()
    await until_served(client, "chat")


@pytest.mark.parametrize(
    "body",
    [
        {"text_input": "a b", "parameters": {"max_tokens": 2, "temperature": 0}},
        {"text_input": "a b", "max_tokens": 2, "temperature": 0},
        {"text_input": "a b", "sampling_parameters": '{"max_tokens": 2, "temperature": 0}', "stream": False},
    ],
)
async def test_parameters_stand_where_triton_takes_them(
    client: httpx.AsyncClient, triton: WireTriton, body: dict[str, Any]
) -> None:
    """Nested, flat, or as the tensor's JSON; the prompt comes back, as from the vLLM backend."""
    answer = await client.post(URL, json=body)

    assert answer.json() == {"model_name": "chat", "model_version": "1", "text_output": "a bHello,"}
    assert triton.generations == [("a b", {"max_tokens": 2, "temperature": 0.0})]


async def test_further_outputs_come_when_they_are_asked_for(client: httpx.AsyncClient) -> None:
    """Under the names of the contract."""
    body = {
        "text_input": "a b",
        "exclude_input_in_output": True,
        "return_finish_reason": True,
        "return_num_input_tokens": True,
        "return_num_output_tokens": True,
    }
    answer = await client.post("/v2/models/chat/versions/1/generate", json=body)

    assert answer.json() == {
        "model_name": "chat",
        "model_version": "1",
        "text_output": "Hello, world!",
        "finish_reason": "stop",
        "num_input_tokens": 2,
        "num_output_tokens": 4,
    }


async def test_a_stream_has_an_event_a_response(client: httpx.AsyncClient) -> None:
    """Deltas, without the prompt, and no word at the end."""
    for extra in ({}, {"stream": True}):
        answer = await client.post(f"{URL}_stream", json={"text_input": "a", **extra})
        found = [json.loads(event.removeprefix("data: ")) for event in answer.text.strip().split("\n\n")]
        assert [event["text_output"] for event in found] == ["Hello", ",", " world", "!"]
        assert {(event["model_name"], event["model_version"]) for event in found} == {("chat", "1")}

    body = {"text_input": "a", "return_finish_reason": True, "return_num_output_tokens": True}
    last = (await client.post(f"{URL}_stream", json=body)).text.strip().split("\n\n")[-1]
    assert json.loads(last.removeprefix("data: ")) == {
        "model_name": "chat",
        "model_version": "1",
        "text_output": "!",
        "finish_reason": "stop",
        "num_output_tokens": 1,
    }


async def test_a_stream_may_be_asked_for_whole(client: httpx.AsyncClient) -> None:
    """As Triton does where a request doesn't say that the model shall stream."""
    answer = await client.post(f"{URL}_stream", json={"text_input": "a", "stream": False})

    assert answer.json()["text_output"] == "aHello, world!"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "text_input"),
        ({"text_input": 1}, "text_input"),
        ({"text_input": "a", "parameters": 1}, "parameters"),
        ({"text_input": "a", "sampling_parameters": "{"}, "sampling_parameters"),
        ({"text_input": "a", "temp": 1}, "temp"),
        ({"text_input": "a", "temperature": -1}, "temperature"),
        ({"text_input": "a", "stream": True}, "generate_stream"),
        ({"text_input": "a", "stream": 1}, "bool"),
        ({"text_input": "a", "n": 2}, "/v1/completions"),
        ({"text_input": "a", "logprobs": 2}, "/v1/completions"),
    ],
)
async def test_bad_bodies_are_refused_before_anything_is_queued(
    client: httpx.AsyncClient, triton: WireTriton, body: dict[str, Any], said: str
) -> None:
    """In the V2 protocol's shape."""
    answer = await client.post(URL, json=body)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]
    assert not triton.generations


async def test_a_stream_never_has_the_prompt(client: httpx.AsyncClient) -> None:
    """The vLLM backend refuses it too."""
    body = {"text_input": "a", "exclude_input_in_output": False}
    answer = await client.post(f"{URL}_stream", json=body)

    assert answer.status_code == 400


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nobody/generate", 404),
        ("/v2/models/chat/versions/9/generate", 404),
        ("/v2/models/chat/versions/x/generate", 404),
        ("/v2/models/minilm/generate", 400),
        ("/v2/models/chat/generate/x", 404),
    ],
)
async def test_what_isnt_there_is_said(client: httpx.AsyncClient, path: str, status: int) -> None:
    """Models, versions, paths."""
    answer = await client.post(path, json={"text_input": "a"})

    assert (answer.status_code, list(answer.json())) == (status, ["error"])


async def test_only_post_generates(client: httpx.AsyncClient) -> None:
    """And the documentation knows the routes."""
    assert (await client.get(URL)).status_code == 405
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert "GenerateRequest" in str(paths["/v2/models/{model}/generate_stream"]["post"]["requestBody"])


async def test_requests_are_counted_under_the_template(client: httpx.AsyncClient) -> None:
    """Callers can't grow the number of series."""
    await client.post(URL, json={"text_input": "a"})

    metrics = (await client.get("/metrics")).text
    assert 'endpoint="/v2/models/{model}/generate",method="POST",status="200"' in metrics
