"""``/v1/embeddings`` as OpenAI's clients know it."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any

import numpy as np
import openai
import pytest

from tests.facade.conftest import KEY
from tests.facade.wire_triton import vector_of

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


async def test_floats_give_back_every_bit(client: httpx.AsyncClient) -> None:
    """JSON numbers read as float32 are the model's own."""
    answer = await client.post("/v1/embeddings", json={"model": "minilm", "input": ["b", "a"]})

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "1"
    assert body["object"] == "list"
    assert body["model"] == "minilm"
    assert body["usage"] == {"prompt_tokens": 6, "total_tokens": 6}
    assert [entry["index"] for entry in body["data"]] == [0, 1]
    for entry, text in zip(body["data"], ["b", "a"], strict=True):
        np.testing.assert_array_equal(np.array(entry["embedding"], dtype="<f4"), vector_of(text))


async def test_base64_is_little_endian_float32(client: httpx.AsyncClient) -> None:
    """What OpenAI's Python client asks for unless told otherwise."""
    request = {"model": "minilm", "input": "a", "encoding_format": "base64"}
    answer = await client.post("/v1/embeddings", json=request)

    assert base64.b64decode(answer.json()["data"][0]["embedding"]) == vector_of("a").tobytes()


async def test_openais_client_works(client: httpx.AsyncClient) -> None:
    """The real client, asynchronous, with its defaults."""
    async with openai.AsyncOpenAI(api_key=KEY, base_url=f"{client.base_url}/v1") as caller:
        answer = await caller.embeddings.create(model="minilm", input=["a", "b"], dimensions=4)
        models = [model.id async for model in caller.models.list()]
        with pytest.raises(openai.NotFoundError) as unknown:
            await caller.embeddings.create(model="other", input="a")

    assert [len(entry.embedding) for entry in answer.data] == [4, 4]
    assert models == ["minilm"]
    assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b"", None),
        (b"{", None),
        (b"[]", None),
        (b"null", None),
        (b'{"model":"minilm"}', "input"),
        (b'{"input":"a"}', "model"),
        (b'{"model":"","input":"a"}', "model"),
        (b'{"model":"minilm","input":[]}', "input"),
        (b'{"model":"minilm","input":null}', "input"),
        (b'{"model":"minilm","input":["a",1]}', "input[1]"),
        (b'{"model":"minilm","input":[[1,2]]}', "input[0]"),
        (b'{"model":"minilm","input":{"a":1}}', "input"),
        (b'{"model":"minilm","input":"a","dimensions":0}', "dimensions"),
        (b'{"model":"minilm","input":"a","dimensions":1.5}', "dimensions"),
        (b'{"model":"minilm","input":"a","dimensions":true}', "dimensions"),
        (b'{"model":"minilm","input":"a","encoding_format":"hex"}', "encoding_format"),
        (b'{"model":"minilm","input":"a\\u0000b"}', "input"),
        (b'{"model":"minilm","input":"\\ud800"}', None),
        (b'{"model":"minilm","input":"\\udc00 x"}', None),
        (b'{"model":"minilm","input":"\xff"}', None),
        (b'{"model":"minilm","input":"\xed\xa0\x80"}', None),
        (b'{"model":"minilm","x":' + b"[" * 100_000 + b"]" * 100_000 + b"}", None),
        (b'{"model":"minilm","input":"' + b"word " * 100 + b'"}', "input"),
        (b'{"model":"minilm","input":[' + b'"a",' * 2048 + b'"a"]}', "input"),
    ],
)
async def test_bad_bodies_are_400_and_name_the_field(
    client: httpx.AsyncClient, body: bytes, param: str | None
) -> None:
    """Never a 500, always OpenAI's error object."""
    answer = await client.post("/v1/embeddings", content=body)

    error = answer.json()["error"]
    assert answer.status_code == 400
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] == param
    assert len(error["message"]) > 10


async def test_a_surrogate_pair_is_fine(client: httpx.AsyncClient) -> None:
    """Only lone halves are refused."""
    answer = await client.post("/v1/embeddings", content=b'{"model":"minilm","input":"\\ud83d\\ude00"}')

    np.testing.assert_array_equal(
        np.array(answer.json()["data"][0]["embedding"], dtype="<f4"), vector_of("\U0001f600")
    )


async def test_neighbours_of_a_bad_text_are_answered(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """A text that fails inside Triton harms no other request in the same merged call."""
    triton.gate.clear()
    first = [asyncio.create_task(_embed(client, "held")) for _ in range(2)]
    await triton.reached.wait()
    merged = [asyncio.create_task(_embed(client, text)) for text in ("a", "poison", "b", "c")]
    async with asyncio.timeout(5):
        while "facade_requests_in_flight 7.0" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.01)
    triton.gate.set()
    await asyncio.gather(*first)

    answers = await asyncio.gather(*merged)

    assert [answer.status_code for answer in answers] == [200, 400, 200, 200]
    for answer, text in zip(answers, ("a", None, "b", "c"), strict=True):
        if text is not None:
            got = np.array(answer.json()["data"][0]["embedding"], dtype="<f4")
            np.testing.assert_array_equal(got, vector_of(text))


async def test_a_triton_that_is_gone_is_503_with_a_wait(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """Callers learn when to come back."""
    await triton.stop()

    answer = await _embed(client, "a")

    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "server_error"
    assert int(answer.headers["retry-after"]) >= 1
    assert int(answer.headers["retry-after-ms"]) >= 1000


async def _embed(client: httpx.AsyncClient, text: str) -> Any:
    return await client.post("/v1/embeddings", json={"model": "minilm", "input": text})
