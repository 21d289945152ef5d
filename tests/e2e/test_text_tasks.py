"""Classification and reranking from the export to a real Triton and over HTTP, against transformers' own answers."""

from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import numpy as np
import pytest
from sentence_transformers import CrossEncoder
from transformers import TextClassificationPipeline
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from deploy.local.triton import CHECKOUT, TritonServer
from export import from_hub, pipeline
from export.options import ExportOptions
from export.original import quiet
from export.original_text import load_classifier, load_reranker
from export.progress import Progress
from tests.export.tiny_model import MAX_TOKENS, make_tiny_classifier
from tests.stack import Facade, start_facade

pytestmark = pytest.mark.e2e

LABELS = ("good", "bad", "so so")
TEXTS = ["the cat", "", "the cat sat on the mat", "the cat sat on " * 20, "Ünïcode 世界 \x00", "tree"]
SENDABLE = [text for text in TEXTS if text and "\x00" not in text]
"""What the façade lets through: it refuses NUL characters and empty texts."""
QUERIES = ["cat", "", "the cat and the tree " * 12]


@dataclass(frozen=True)
class Served:
    """Both models in a Triton, with their originals."""

    client: InferenceServerClient
    """Speaks with the Triton."""

    facade: Facade
    """Stands before it."""

    classifier: TextClassificationPipeline
    """The original of `moods`."""

    reranker: CrossEncoder
    """The original of `ranker`."""

    def ask(self, model: str, **inputs: list[bytes]) -> tuple[np.ndarray, list[int]]:
        """Send a batch; return the answer's rows and the token counts."""
        tensors = []
        for name, values in inputs.items():
            tensor = InferInput(name, [len(values), 1], "BYTES")
            tensor.set_data_from_numpy(np.array(values, dtype=np.object_).reshape(-1, 1))
            tensors.append(tensor)
        result = self.client.infer(model, tensors)
        answer = result.as_numpy("scores" if model == "moods" else "score")
        return answer, result.as_numpy("num_input_tokens").ravel().tolist()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A classifier and a reranker, exported and served."""
    if not (CHECKOUT / ".triton" / "backends" / "onnxruntime" / "model.py").exists():
        pytest.skip("Triton is not installed: run `make install`")
    folder = tmp_path_factory.mktemp("text_tasks")
    repository = folder / "repository"
    label2id = {label: place for place, label in enumerate(LABELS)}
    make_tiny_classifier(folder / "moods", id2label=dict(enumerate(LABELS)), label2id=label2id)
    make_tiny_classifier(folder / "ranker", num_labels=1)
    asked = [
        ExportOptions(model=str(folder / name), name=name, repository=repository)
        for name in ("moods", "ranker")
    ]
    for options in asked:
        pipeline.run_export(options, Progress(None))
    moods, ranker = (from_hub.find_model(options) for options in asked)
    model, tokenizer = load_classifier(moods)
    with quiet():
        classifier = TextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")
    with (
        TritonServer(repository) as triton,
        InferenceServerClient(triton.grpc_url) as client,
        start_facade(triton.grpc_url) as facade,
    ):
        yield Served(client, facade, classifier, load_reranker(ranker))


def test_classes_are_transformers_own(served: Served) -> None:
    """Short, empty, odd and over-long texts in one request get the scores of transformers' pipeline."""
    scores, counts = served.ask("moods", text=[text.encode() for text in TEXTS])
    with quiet():
        expected = served.classifier(TEXTS, top_k=None, truncation=True, max_length=MAX_TOKENS)
    for row, answer in zip(scores, expected, strict=True):
        by_label = {entry["label"]: entry["score"] for entry in answer}
        assert row == pytest.approx([by_label[label] for label in LABELS], abs=1e-4)
    assert scores.dtype == np.float32
    assert counts[1] == 2
    assert counts[3] > MAX_TOKENS


def test_scores_of_pairs_are_the_cross_encoders(served: Served) -> None:
    """Every query with every document, truncated pairs included, gets CrossEncoder's score."""
    pairs = [(query, text) for query in QUERIES for text in TEXTS]
    scores, counts = served.ask(
        "ranker",
        query=[query.encode() for query, _ in pairs],
        document=[text.encode() for _, text in pairs],
    )
    with quiet():
        expected = served.reranker.predict(pairs)
    assert scores[:, 0] == pytest.approx(expected, abs=1e-4)
    assert counts[pairs.index(("", ""))] == 3
    assert max(counts) > 2 * MAX_TOKENS


def test_bad_bytes_are_named_by_input_and_row(served: Served) -> None:
    """A document that isn't UTF-8 is told by its input and row."""
    with pytest.raises(InferenceServerException, match="Row 1 of 'document' is not UTF-8"):
        served.ask("ranker", query=[b"cat", b"cat"], document=[b"mat", b"\xff"])


def test_a_pair_needs_both_texts(served: Served) -> None:
    """A request with as many queries as documents, or none, is refused by Triton itself."""
    with pytest.raises(InferenceServerException):
        served.ask("ranker", query=[b"cat", b"cat"], document=[b"mat"])
    with pytest.raises(InferenceServerException, match="document"):
        served.ask("ranker", query=[b"cat"])


def test_the_classify_route_answers_like_the_pipeline(served: Served) -> None:
    """POST /v1/classify names the labels of transformers' pipeline, the best first, with its scores."""
    asked = {"model": "moods", "input": SENDABLE, "truncate": True}
    answer = httpx.post(f"{served.facade.url}/v1/classify", json=asked, headers=served.facade.headers)
    assert answer.status_code == 200, answer.text
    with quiet():
        expected = served.classifier(SENDABLE, top_k=None, truncation=True, max_length=MAX_TOKENS)
    for found, wanted in zip(answer.json()["data"], expected, strict=True):
        assert found["label"] == wanted[0]["label"]
        assert [entry["label"] for entry in found["scores"]] == [entry["label"] for entry in wanted]
        scores = [entry["score"] for entry in found["scores"]]
        assert scores == pytest.approx([entry["score"] for entry in wanted], abs=1e-4)


def test_the_rerank_route_answers_like_the_cross_encoder(served: Served) -> None:
    """POST /v1/rerank orders documents as CrossEncoder.rank does, with its scores."""
    documents = SENDABLE
    asked = {"model": "ranker", "query": QUERIES[0], "documents": documents}
    answer = httpx.post(f"{served.facade.url}/v1/rerank", json=asked, headers=served.facade.headers)
    assert answer.status_code == 200, answer.text
    with quiet():
        expected = served.reranker.rank(QUERIES[0], documents)
    results = answer.json()["results"]
    assert [found["index"] for found in results] == [wanted["corpus_id"] for wanted in expected]
    scores = [found["relevance_score"] for found in results]
    assert scores == pytest.approx([float(wanted["score"]) for wanted in expected], abs=1e-4)
