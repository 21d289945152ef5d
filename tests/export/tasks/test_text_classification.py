"""Text classification: labels, activations, and a gate that knows the wrong ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.errors import ModelUnreadable, ParityFailed
from export.parity_door import LocalDoor
from export.profiles import cpu_profile
from tests.export.assembled import Assembled, assemble
from tests.export.tiny_model import make_tiny_classifier

LABELS = ("good", "bad", "so so")
ID2LABEL = dict(enumerate(LABELS))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Assembled:
    """A classifier of three labels, assembled; not to be written to."""
    folder = tmp_path_factory.mktemp("classifier")
    label2id = {label: place for place, label in ID2LABEL.items()}
    return assemble(make_tiny_classifier(folder / "model", id2label=ID2LABEL, label2id=label2id), folder)


def test_scores_are_the_pipelines(classifier: Assembled) -> None:
    """Over all batches, every label's score is what transformers' pipeline gives, and scores of a text sum to 1."""
    report = classifier.compare()
    assert report.measure == "top1"
    assert report.figures["max_score_difference"] < 1e-5
    assert report.figures["mean_top1"] == 1
    scores, counts = LocalDoor(classifier.draft).encode(["the cat", ""])
    assert scores.sum(axis=1) == pytest.approx([1, 1], abs=1e-6)
    assert counts == [4, 2]


def test_labels_stand_in_the_card_in_the_order_of_the_scores(classifier: Assembled) -> None:
    """The card has the labels' names, and the config a score for each of them."""
    card = classifier.task.card(classifier.source, classifier.draft.graph)
    assert (card["task"], card["labels"]) == ("text-classification", list(LABELS))
    config = classifier.task.door_config("tiny", card, cpu_profile(2), [1])
    assert [(i.name, list(i.dims)) for i in config.input] == [("text", [1])]
    assert [(o.name, list(o.dims)) for o in config.output] == [("scores", [3]), ("num_input_tokens", [1])]


def test_independent_labels_have_independent_scores(tmp_path: Path) -> None:
    """A multi-label classifier's scores are sigmoids, which need not sum to 1."""
    model = make_tiny_classifier(tmp_path / "model", num_labels=3, problem_type="multi_label_classification")
    made = assemble(model, tmp_path)
    assert made.compare().figures["max_score_difference"] < 1e-5
    scores, _ = LocalDoor(made.draft).encode(["the cat"])
    assert abs(scores.sum() - 1) > 1e-3


def test_a_wrong_activation_is_stopped(classifier: Assembled, tmp_path: Path) -> None:
    """Sigmoids in place of a softmax fail, and the message names a text."""
    path = classifier.draft.core_folder / "model.onnx"
    right = path.read_bytes()
    model = onnx.load(str(path))
    node = next(node for node in model.graph.node if "scores" in node.output)
    node.op_type = "Sigmoid"
    del node.attribute[:]
    try:
        onnx.save(model, str(path))
        with pytest.raises(ParityFailed, match=r"highest difference of a score is .* The worst input is '"):
            classifier.compare()
    finally:
        path.write_bytes(right)


def test_scores_are_float32_rows(classifier: Assembled) -> None:
    """The answer is one float32 row a text."""
    scores, _ = LocalDoor(classifier.draft).encode(["the cat"] * 5)
    assert (scores.dtype, scores.shape) == (np.float32, (5, 3))


def test_an_original_that_fails_by_itself_is_told(classifier: Assembled, tmp_path: Path) -> None:
    """A tokenizer of another model, whose ids the weights don't know, ends in a sentence and not in a traceback."""
    model = make_tiny_classifier(tmp_path / "model", num_labels=3, vocab_size=12)
    source = replace(classifier.source, folder=model)
    with pytest.raises(ModelUnreadable, match=r"fails by itself, .* Check that its tokenizer"):
        replace(classifier, source=source).compare()
