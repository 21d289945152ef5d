"""Reranking: pairs as the original makes them, its activation, its order."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from export.errors import ModelUnreadable, ParityFailed
from export.parity_door import LocalDoor
from export.profiles import cpu_profile
from tests.export.assembled import Assembled, assemble
from tests.export.tiny_model import make_tiny_classifier

PAIRS = [("cat", "the cat sat on the mat"), ("cat", "tree"), ("", ""), ("cat " * 40, "mat " * 40)]


def make_reranker(folder: Path, activation: str | None = None) -> Path:
    """Make a cross-encoder whose configuration names an activation, or none."""
    model = make_tiny_classifier(folder, num_labels=1)
    if activation:
        path = model / "config.json"
        own = {"sentence_transformers": {"activation_fn": activation}}
        path.write_text(json.dumps(json.loads(path.read_text()) | own))
    return model


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    """A cross-encoder that says nothing about its activation, assembled; not to be written to."""
    folder = tmp_path_factory.mktemp("reranker")
    return assemble(make_reranker(folder / "model"), folder)


def test_scores_and_order_are_the_cross_encoders(reranker: Assembled) -> None:
    """Over all queries, scores are CrossEncoder's, and documents have its order."""
    assert reranker.source.task == "reranking"
    report = reranker.compare()
    assert report.measure == "rank"
    assert report.figures["max_score_difference"] < 1e-4
    assert report.figures["mean_rank_correlation"] == pytest.approx(1)
    assert max(point.max_tokens for point in report.points) > reranker.source.max_input_tokens
    scores, counts = LocalDoor(reranker.draft).encode(PAIRS)
    assert scores.shape == (4, 1)
    assert ((scores > 0) & (scores < 1)).all()
    assert counts[2] == 3  # [CLS] [SEP] [SEP]
    assert counts[3] > 80


def test_the_door_keeps_to_the_tensor_contract(reranker: Assembled) -> None:
    """Query and document in; one score and the count out."""
    card = reranker.task.card(reranker.source, reranker.draft.graph)
    config = reranker.task.door_config("tiny", card, cpu_profile(2), [1])
    assert [(i.name, list(i.dims)) for i in config.input] == [("query", [1]), ("document", [1])]
    assert [(o.name, list(o.dims)) for o in config.output] == [("score", [1]), ("num_input_tokens", [1])]


def test_a_named_activation_is_kept(tmp_path: Path) -> None:
    """A cross-encoder that names Identity answers with its logit, as the MS MARCO models do."""
    made = assemble(make_reranker(tmp_path / "model", "torch.nn.modules.linear.Identity"), tmp_path)
    assert made.compare().figures["max_score_difference"] < 1e-4
    scores, _ = LocalDoor(made.draft).encode(PAIRS)
    assert np.abs(scores).max() > 1


def test_an_activation_that_cannot_be_exported_is_named(tmp_path: Path) -> None:
    """Another function than the graph can end in is refused with its name."""
    with pytest.raises(ModelUnreadable, match="by Tanh"):
        assemble(make_reranker(tmp_path / "model", "torch.nn.modules.activation.Tanh"), tmp_path)


def test_swapped_segments_are_stopped(reranker: Assembled) -> None:
    """A graph for which query and document are one segment fails, and the message names a document."""
    path = reranker.draft.core_folder / "model.onnx"
    right = path.read_bytes()
    model = onnx.load(str(path))
    table = next(tensor for tensor in model.graph.initializer if "token_type_embeddings" in tensor.name)
    rows = numpy_helper.to_array(table)
    table.CopyFrom(numpy_helper.from_array(rows[::-1].copy(), table.name))
    try:
        onnx.save(model, str(path))
        with pytest.raises(ParityFailed, match=r"a score is .* The worst input is '"):
            reranker.compare()
    finally:
        path.write_bytes(right)
