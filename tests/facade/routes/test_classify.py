"""``/v1/classify``: texts and images to labels."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import pytest

from tests.facade.conftest import until_served
from tests.facade.wire_triton import scores_of

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

LABELS = ["sad", "glad", "mad"]


@pytest.fixture(autouse=True)
async def _models(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """A classifier of texts and one of images."""
    release = {"stable": 1}
    for name, task in (("mood", "text-classification"), ("seen", "image-classification")):
        card = {"task": task, "labels": LABELS, "release": release}
        triton.models[name] = {"versions": [1], "max_batch_size": 8, "card": card}
    await until_served(client, "mood", "seen")


async def test_labels_come_best_first(client: httpx.AsyncClient) -> None:
    """In OpenAI's list shape, one entry an input."""
    answer = await client.post("/v1/classify", json={"model": "mood", "input": ["one text", "another"]})

    body = answer.json()
    assert answer.status_code == 200
    assert answer.headers["x-model-version"] == "1"
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    for index, text in enumerate(["one text", "another"]):
        entry, expected = body["data"][index], scores_of(text, 3)
        assert entry["index"] == index
        assert entry["label"] == LABELS[int(expected.argmax())]
        assert {found["label"]: found["score"] for found in entry["scores"]} == pytest.approx(
            dict(zip(LABELS, map(float, expected), strict=True))
        )
        assert [found["score"] for found in entry["scores"]] == sorted(map(float, expected), reverse=True)


async def test_only_the_best_are_given_if_asked(client: httpx.AsyncClient) -> None:
    """``top_k`` counts from the best."""
    answer = await client.post("/v1/classify", json={"model": "mood", "input": "x", "top_k": 1})

    (entry,) = answer.json()["data"]
    assert [entry["label"]] == [found["label"] for found in entry["scores"]]


async def test_images_are_classified(client: httpx.AsyncClient) -> None:
    """The file arrives in Triton as it was."""
    image = b64encode(b"file").decode()
    answer = await client.post(
        "/v1/classify", json={"model": "seen", "input": f"data:image/png;base64,{image}"}
    )

    (entry,) = answer.json()["data"]
    assert entry["label"] == LABELS[int(scores_of("file", 3).argmax())]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": "mood"}, "input"),
        ({"model": "mood", "input": []}, "input"),
        ({"model": "mood", "input": ["ok", "\0"]}, "input[1]"),
        ({"model": "mood", "input": "a", "top_k": 0}, "top_k"),
        ({"model": "minilm", "input": "a"}, "model"),
        ({"model": "seen", "input": []}, "input"),
        ({"model": "seen", "input": ["AAAA", "no"]}, "input[1]"),
        ({"model": "seen", "input": "https://example.org/a.png"}, "input"),
    ],
)
async def test_bad_bodies_are_openai_errors(
    client: httpx.AsyncClient, body: dict[str, object], param: str
) -> None:
    """The field is named."""
    answer = await client.post("/v1/classify", json=body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_predict_answers_for_both(client: httpx.AsyncClient) -> None:
    """The plain route gives the labels of one input as a list, of several as lists."""
    one = await client.post("/predict", json={"model": "mood", "prompt": "x"})
    two = await client.post(
        "/predict", json={"model": "seen", "inputs": ["AAAA", "AAAB"], "parameters": {"top_k": 2}}
    )

    assert one.json()["task"] == "text-classification"
    assert [set(found) for found in one.json()["result"]] == [{"label", "score"}] * 3
    assert [len(labels) for labels in two.json()["result"]] == [2, 2]
