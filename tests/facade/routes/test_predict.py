"""``/predict``: one plain body for every task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tests.facade.wire_triton import vector_of

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("field", ["prompt", "inputs"])
async def test_one_text_gives_one_result(client: httpx.AsyncClient, field: str) -> None:
    """The guide's body works as it stands, with either name."""
    answer = await client.post("/predict", json={field: "a"})

    body = answer.json()
    assert answer.status_code == 200
    assert (body["model"], body["version"], body["task"]) == ("minilm", 1, "embedding")
    np.testing.assert_array_equal(np.array(body["result"], dtype="<f4"), vector_of("a"))


async def test_a_list_gives_a_list(client: httpx.AsyncClient) -> None:
    """The result has the shape of the input."""
    request = {"inputs": ["a", "b"], "model": "minilm", "parameters": {"dimensions": 4, "truncate": True}}
    answer = await client.post("/predict", json=request)

    assert [len(vector) for vector in answer.json()["result"]] == [4, 4]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": "a", "inputs": "b"}, "prompt"),
        ({"prompt": 1}, "prompt"),
        ({"prompt": "a", "model": ""}, "model"),
        ({"inputs": []}, "inputs"),
        ({"inputs": ["a", "\0"]}, "inputs[1]"),
        ({"prompt": "a", "parameters": {"temperature": 1}}, "parameters"),
        ({"prompt": "a", "parameters": {"dimensions": "x"}}, "parameters"),
        ({"prompt": "a", "parameters": []}, "parameters"),
        ({"prompt": "a", "parameters": {"dimensions": 99}}, "dimensions"),
    ],
)
async def test_bad_bodies_are_problems(
    client: httpx.AsyncClient, body: dict[str, object], param: str
) -> None:
    """RFC 9457's shape, with the field's name."""
    answer = await client.post("/predict", json=body)

    problem = answer.json()
    assert answer.status_code == problem["status"] == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["param"] == param


async def test_an_unknown_model_is_404(client: httpx.AsyncClient) -> None:
    """What is served is listed."""
    answer = await client.post("/predict", json={"prompt": "a", "model": "other"})

    assert answer.status_code == 404
    assert "minilm" in answer.json()["detail"]


async def test_with_several_models_one_must_be_named(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """The choice is the caller's or the operator's, never a guess."""
    triton.models["other"] = triton.models["minilm"]
    for _ in range(1000):
        if len((await client.get("/v1/models")).json()["data"]) == 2:
            break

    answer = await client.post("/predict", json={"prompt": "a"})

    assert answer.status_code == 400
    assert answer.json()["param"] == "model"
