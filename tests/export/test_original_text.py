"""The originals that classify and rerank: what makes their scores, and weights that aren't there."""

import json
from pathlib import Path

import pytest
from transformers import BertConfig, BertModel

from export.errors import ModelUnreadable
from export.from_hub import find_model
from export.options import ExportOptions
from export.original_text import classifier_activation, load_classifier, load_reranker
from tests.export.tiny_model import MAX_TOKENS, make_tiny_classifier, make_tokenizer, tiny_config


@pytest.mark.parametrize(
    ("settings", "activation"),
    [
        ({"num_labels": 3}, "Softmax"),
        ({"num_labels": 3, "problem_type": "single_label_classification"}, "Softmax"),
        ({"num_labels": 3, "problem_type": "multi_label_classification"}, "Sigmoid"),
        ({"num_labels": 1}, "Sigmoid"),
        ({"num_labels": 1, "problem_type": "regression"}, "Identity"),
        ({"num_labels": 3, "problem_type": "regression"}, "Identity"),
    ],
)
def test_the_activation_is_the_pipelines(settings: dict[str, object], activation: str) -> None:
    """Logits become scores as transformers' pipeline makes them, by the problem and the number of labels."""
    assert classifier_activation(BertConfig(**settings)) == activation


def test_a_head_without_weights_is_refused(tmp_path: Path) -> None:
    """An encoder that only calls itself a classifier would answer at random, so it is refused."""
    make_tokenizer(tmp_path)
    BertModel(tiny_config()).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    named = {"architectures": ["BertForSequenceClassification"]}
    path.write_text(json.dumps(json.loads(path.read_text()) | named))
    source = find_model(ExportOptions(model=str(tmp_path), name="x", repository=tmp_path))
    with pytest.raises(ModelUnreadable, match=r"lack weights \(classifier\.bias\)"):
        load_classifier(source)


def test_a_reranker_without_a_limit_gets_one(tmp_path: Path) -> None:
    """A tokenizer that names no limit truncates where the positions end, instead of letting the model fail."""
    make_tiny_classifier(tmp_path, num_labels=1)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": 10**30}))
    source = find_model(ExportOptions(model=str(tmp_path), name="x", repository=tmp_path))
    model = load_reranker(source)
    assert source.max_input_tokens == model.max_seq_length == MAX_TOKENS
    assert model.predict([("cat " * 50, "mat " * 50)]).shape == (1,)
