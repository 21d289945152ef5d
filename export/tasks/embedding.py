"""Embedding: a text in, a vector out, as sentence-transformers makes it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from export.artifacts import Draft, Graph, ParityReport, SourceModel, TensorSpec
from export.config_pbtxt import make_door_config
from export.parity_embedding import compare_embeddings
from export.profiles import TargetProfile
from export.tasks.base import DoorFiles
from export.tasks.text_encoder import NUM_INPUT_TOKENS, start_card, text_door
from export.to_onnx import convert_embedder

INPUTS = (TensorSpec("text", "BYTES", (1,)),)
OUTPUT = "embedding"


def convert(source: SourceModel, folder: Path) -> Graph:
    """Trace the whole sentence-transformers model, pooling and normalisation included."""
    return convert_embedder(source, folder)


def door_files(source: SourceModel, graph: Graph, profile: TargetProfile) -> DoorFiles:
    """Give the door its tokenizer and limits."""
    return text_door(source, graph, profile, INPUTS, OUTPUT)


def card(source: SourceModel, graph: Graph) -> dict[str, Any]:
    """Tell the vector's dimension, and which shorter ones the model was trained for, if its files say so."""
    shorter = [size for size in source.matryoshka_dimensions if size <= graph.width]
    return start_card(source) | {
        "dimension": graph.width,
        **({"matryoshka_dimensions": shorter} if shorter else {}),
    }


def door_config(name: str, card: dict[str, Any], profile: TargetProfile, versions: Sequence[int]) -> Any:
    """Declare the tensor contract: `text` in, `embedding` and `num_input_tokens` out."""
    outputs = (TensorSpec(OUTPUT, "FP32", (card["dimension"],)), NUM_INPUT_TOKENS)
    return make_door_config(name, card, profile, versions, inputs=INPUTS, outputs=outputs)


def compare(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """Compare vectors by their cosines and lengths."""
    return compare_embeddings(source, draft, precision)
