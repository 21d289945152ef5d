"""Text classification: a text in, the scores of all labels out, as transformers' pipeline makes them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.artifacts import Draft, Graph, ParityReport, SourceModel, TensorSpec
from export.config_pbtxt import make_door_config
from export.original_text import classifier_activation, load_classifier
from export.parity_classification import compare_classifications
from export.profiles import TargetProfile
from export.tasks.base import DoorFiles
from export.tasks.text_encoder import NUM_INPUT_TOKENS, start_card, text_door
from export.to_onnx import convert_classifier

INPUTS = (TensorSpec("text", "BYTES", (1,)),)
OUTPUT = "scores"


def convert(source: SourceModel, folder: Path) -> Graph:
    """Trace the classifier, and append the activation that its configuration asks for."""
    model, _ = load_classifier(source)
    return convert_classifier(source, model, folder, OUTPUT, classifier_activation(model.config))


def door_files(source: SourceModel, graph: Graph, profile: TargetProfile) -> DoorFiles:
    """Give the door its tokenizer and limits."""
    return text_door(source, graph, profile, INPUTS, OUTPUT)


def card(source: SourceModel, graph: Graph) -> dict[str, Any]:  # noqa: ARG001 - every task's signature
    """Tell the labels, in the order of the scores."""
    return start_card(source) | {"labels": list(source.labels)}


def door_config(name: str, card: dict[str, Any], profile: TargetProfile, versions: Sequence[int]) -> Any:
    """Declare the tensor contract: `text` in, `scores` and `num_input_tokens` out."""
    outputs = (TensorSpec(OUTPUT, "FP32", (len(card["labels"]),)), NUM_INPUT_TOKENS)
    return make_door_config(name, card, profile, versions, inputs=INPUTS, outputs=outputs)


def compare(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """Compare the best labels and all scores."""
    return compare_classifications(source, draft, precision)
