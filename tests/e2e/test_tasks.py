"""Classifying texts and images and reranking: the export, the real Triton and the façade."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING

import httpx
import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from export.from_hub import find_model
from export.options import ExportOptions
from export.original_image import load_image_original
from export.runtime.image_encoder.images import decode
from tests.e2e.conftest import MOODS
from tests.export.runtime.image_encoder.pictures import make_picture, to_file
from tests.export.tiny_vit import LABELS
from tests.stack import start_facade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deploy.local.triton import TritonServer
    from tests.stack import Facade

pytestmark = pytest.mark.e2e

TEXTS = ["the cat sat on the mat", "tree", "the other cats looked at it " * 6, "Ünïcode 世界"]


@pytest.fixture(scope="module", name="facade")
def _facade(all_tasks_triton: TritonServer) -> Iterator[Facade]:
    """A façade before a real Triton that serves all three, and others."""
    with start_facade(all_tasks_triton.grpc_url) as facade:
        yield facade


def ask(facade: Facade, path: str, body: dict[str, object]) -> httpx.Response:
    """Post a request with the key."""
    return httpx.post(f"{facade.url}{path}", json=body, headers=facade.headers, timeout=30)


def test_the_models_say_what_they_are_for(facade: Facade) -> None:
    """The task was found from each model's own files."""
    listed = httpx.get(f"{facade.url}/v1/models", headers=facade.headers).json()["data"]

    tasks = {entry["id"]: entry["task"] for entry in listed}
    assert tasks["mood"] == "text-classification"
    assert tasks["judge"] == "reranking"
    assert tasks["pets"] == "image-classification"


def test_texts_are_classified_as_transformers_does(facade: Facade, task_folders: dict[str, Path]) -> None:
    """Every label's score, for texts of several lengths in one request; one is longer than the model reads."""
    body = {"model": "mood", "input": TEXTS, "truncate": True}
    answer = ask(facade, "/v1/classify", body).json()
    too_long = ask(facade, "/v1/classify", {"model": "mood", "input": TEXTS})

    tokenizer = AutoTokenizer.from_pretrained(task_folders["mood"])
    model = AutoModelForSequenceClassification.from_pretrained(task_folders["mood"]).eval()
    with torch.no_grad():
        encoded = tokenizer(TEXTS, padding=True, truncation=True, return_tensors="pt")
        expected = torch.softmax(model(**encoded).logits, dim=1).numpy()
    for entry, scores in zip(answer["data"], expected, strict=True):
        found = {label["label"]: label["score"] for label in entry["scores"]}
        np.testing.assert_allclose([found[label] for label in MOODS.values()], scores, atol=1e-5)
    assert too_long.status_code == 400
    assert too_long.json()["error"]["param"] == "input[2]"


def test_documents_are_ranked_as_the_cross_encoder_does(
    facade: Facade, task_folders: dict[str, Path]
) -> None:
    """Order and scores are those of sentence-transformers' own class."""
    answer = ask(facade, "/v1/rerank", {"model": "judge", "query": "the cat", "documents": TEXTS}).json()

    original = CrossEncoder(str(task_folders["judge"]), device="cpu")
    scores = original.predict([("the cat", text) for text in TEXTS], show_progress_bar=False)
    assert [found["index"] for found in answer["results"]] == np.argsort(-scores, kind="stable").tolist()
    np.testing.assert_allclose(
        [found["relevance_score"] for found in answer["results"]], np.sort(scores)[::-1], atol=1e-5
    )


def test_images_are_classified_as_transformers_does(facade: Facade, task_folders: dict[str, Path]) -> None:
    """JPEG, PNG and WebP of several sizes; through /v1/classify and /predict."""
    kinds = [("PNG", (64, 48)), ("JPEG", (30, 90)), ("WEBP", (33, 33))]
    files = [to_file(make_picture(*size, seed), kind) for seed, (kind, size) in enumerate(kinds)]
    encoded = [b64encode(file).decode() for file in files]

    listed = ask(facade, "/v1/classify", {"model": "pets", "input": encoded}).json()["data"]
    plain = ask(facade, "/predict", {"model": "pets", "inputs": encoded[1]}).json()["result"]

    source = find_model(
        ExportOptions(model=str(task_folders["pets"]), name="pets", repository=task_folders["pets"])
    )
    model, processor = load_image_original(source)
    with torch.no_grad():
        pixels = processor([decode(file) for file in files], return_tensors="pt")["pixel_values"]
        expected = torch.softmax(model(pixel_values=pixels).logits, dim=1).numpy()
    for entry, scores in zip(listed, expected, strict=True):
        found = {label["label"]: label["score"] for label in entry["scores"]}
        np.testing.assert_allclose([found[label] for label in LABELS], scores, atol=1e-5)
    assert plain[0]["label"] == LABELS[int(expected[1].argmax())]


def test_a_broken_image_harms_no_neighbour(facade: Facade) -> None:
    """In one request it is named; a request beside it is answered."""
    good = b64encode(to_file(make_picture(20, 20))).decode()
    broken = b64encode(b"GIF89a and no more").decode()

    both = ask(facade, "/v1/classify", {"model": "pets", "input": [good, broken]})
    alone = ask(facade, "/v1/classify", {"model": "pets", "input": good})

    assert both.status_code == 400
    assert "is none of JPEG, PNG, WEBP" in both.json()["error"]["message"]
    assert both.json()["error"]["param"] == "input"
    assert alone.status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": "mood", "input": "a"}),
        ("/v1/rerank", {"model": "mood", "query": "a", "documents": ["b"]}),
        ("/v1/classify", {"model": "judge", "input": "a"}),
    ],
)
def test_a_model_for_something_else_is_named(facade: Facade, path: str, body: dict[str, object]) -> None:
    """A 400 that says what the model is for."""
    answer = ask(facade, path, body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"
