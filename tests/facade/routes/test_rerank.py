"""``/v1/rerank`` as Cohere's and Jina's clients know it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.facade.conftest import until_served
from tests.facade.wire_triton import score_of

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

DOCUMENTS = ["about cats", "about dogs", "about birds"]


@pytest.fixture(autouse=True)
async def _model(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """A reranker."""
    card = {"task": "reranking", "max_input_tokens": 10, "release": {"stable": 1}}
    triton.models["judge"] = {"versions": [1], "max_batch_size": 8, "card": card}
    await until_served(client, "judge")


def expected_order(documents: list[str]) -> list[int]:
    """Order documents by the stand-in's own scores."""
    return sorted(range(len(documents)), key=lambda place: -score_of("pets", documents[place]))


async def test_documents_come_most_relevant_first(client: httpx.AsyncClient) -> None:
    """Each with its index in the request and the model's score."""
    answer = await client.post("/v1/rerank", json={"model": "judge", "query": "pets", "documents": DOCUMENTS})

    body = answer.json()
    assert answer.status_code == 200
    assert [found["index"] for found in body["results"]] == expected_order(DOCUMENTS)
    for found in body["results"]:
        assert found["relevance_score"] == pytest.approx(score_of("pets", DOCUMENTS[found["index"]]))
        assert "document" not in found
    assert body["meta"]["billed_units"] == {"search_units": 1}
    assert body["usage"]["total_tokens"] == body["meta"]["tokens"]["input_tokens"] == 9


async def test_coheres_second_version_is_answered_like_the_first(client: httpx.AsyncClient) -> None:
    """Its clients append ``v2/rerank``; that path's neighbours are the V2 protocol's."""
    request = {"model": "judge", "query": "pets", "documents": DOCUMENTS, "max_tokens_per_doc": 4096}
    answers = [await client.post(f"/{version}/rerank", json=request) for version in ("v1", "v2")]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json()["results"] == answers[1].json()["results"]


async def test_documents_are_repeated_if_asked(client: httpx.AsyncClient) -> None:
    """``top_n`` counts from the best; documents may be objects."""
    documents = [{"text": text, "title": "ignored"} for text in DOCUMENTS]
    request = {
        "model": "judge",
        "query": "pets",
        "documents": documents,
        "top_n": 2,
        "return_documents": True,
    }
    answer = await client.post("/v1/rerank", json=request)

    best = expected_order(DOCUMENTS)[:2]
    assert [found["document"]["text"] for found in answer.json()["results"]] == [
        DOCUMENTS[place] for place in best
    ]


async def test_a_long_document_is_refused_if_asked(client: httpx.AsyncClient) -> None:
    """Rerankers cut by default, as their APIs do."""
    request = {"model": "judge", "query": "word " * 20, "documents": ["a"]}

    cut = await client.post("/v1/rerank", json=request)
    refused = await client.post("/v1/rerank", json={**request, "truncate": False})

    assert cut.status_code == 200
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "documents[0]"
    assert refused.json()["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["a", "\0"]}, "documents[1]"),
        ({"query": " "}, "query"),
        ({"query": None}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"model": "minilm"}, "model"),
    ],
)
async def test_bad_bodies_are_openai_errors(
    client: httpx.AsyncClient, changes: dict[str, object], param: str
) -> None:
    """The field is named."""
    request = {"model": "judge", "query": "pets", "documents": DOCUMENTS}
    answer = await client.post("/v1/rerank", json=request | changes)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


async def test_predict_takes_the_pair_as_an_object(client: httpx.AsyncClient) -> None:
    """And says so to who sends a text."""
    inputs = {"query": "pets", "documents": DOCUMENTS}
    answer = await client.post(
        "/predict", json={"model": "judge", "inputs": inputs, "parameters": {"top_n": 1}}
    )
    wrong = await client.post("/predict", json={"model": "judge", "prompt": "pets"})
    bad = await client.post("/predict", json={"model": "judge", "inputs": {"query": "", "documents": ["a"]}})

    assert [found["index"] for found in answer.json()["result"]] == expected_order(DOCUMENTS)[:1]
    assert (wrong.status_code, wrong.json()["param"]) == (400, "inputs")
    assert (bad.status_code, bad.json()["param"]) == (400, "inputs.query")
