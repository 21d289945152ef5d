"""Reranking: a query and a document in, one score out, as sentence-transformers' CrossEncoder makes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.artifacts import Draft, Graph, ParityReport, SourceModel, TensorSpec
from export.config_pbtxt import make_door_config
from export.original_text import load_classifier, load_reranker, reranker_activation
from export.parity_reranking import compare_rankings
from export.profiles import TargetProfile
from export.tasks.base import DoorFiles
from export.tasks.text_encoder import NUM_INPUT_TOKENS, start_card, text_door
from export.to_onnx import convert_classifier

INPUTS = (TensorSpec("query", "BYTES", (1,)), TensorSpec("document", "BYTES", (1,)))
OUTPUT = "score"


def convert(source: SourceModel, folder: Path) -> Graph:
    """Trace the cross-encoder, and append the activation that its configuration asks for."""
    model, _ = load_classifier(source)
    activation = reranker_activation(source, load_reranker(source))
    return convert_classifier(source, model, folder, OUTPUT, activation)


def door_files(source: SourceModel, graph: Graph, profile: TargetProfile) -> DoorFiles:
    """Give the door its tokenizer and limits; two inputs make it tokenize pairs."""
    return text_door(source, graph, profile, INPUTS, OUTPUT)


def card(source: SourceModel, graph: Graph) -> dict[str, Any]:  # noqa: ARG001 - every task's signature
    """Tell what every text model tells."""
    return start_card(source)


def door_config(name: str, card: dict[str, Any], profile: TargetProfile, versions: Sequence[int]) -> Any:
    """Declare the tensor contract: `query` and `document` in, `score` and `num_input_tokens` out."""
    outputs = (TensorSpec(OUTPUT, "FP32", (1,)), NUM_INPUT_TOKENS)
    return make_door_config(name, card, profile, versions, inputs=INPUTS, outputs=outputs)


def compare(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """Compare scores, and the order that they give."""
    return compare_rankings(source, draft, precision)
