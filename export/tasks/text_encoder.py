"""What the tasks behind the text door share: the tokenizer, the grouping, the start of the card."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from export.artifacts import Graph, SourceModel, TensorSpec
from export.profiles import TargetProfile
from export.tasks.base import DoorFiles

NUM_INPUT_TOKENS = TensorSpec("num_input_tokens", "UINT32", (1,))
"""What every text door answers beside its row: the tokens of each input before truncation."""

DEFAULT_CACHE_TTL_S = 86_400
"""Seconds that the façade may keep an answer: a version's answer never changes, a day bounds the memory."""


def text_door(
    source: SourceModel, graph: Graph, profile: TargetProfile, inputs: Sequence[TensorSpec], output: str
) -> DoorFiles:
    """
    Collect what a text door needs beside its code.

    Args:
        source: The original's files.

        graph: The graph.

        profile: The target's numbers.

        inputs: What callers send: a text, or two that are tokenized as a pair.

        output: What the finished row is called.

    Returns:
        The tokenizer, byte for byte, and the settings.
    """
    settings = {
        "inputs": [spec.name for spec in inputs],
        "output": output,
        "core_inputs": list(graph.input_names),
        "core_output": graph.output_name,
        "width": graph.width,
        "max_input_tokens": source.max_input_tokens,
        "truncation_side": source.truncation_side,
        "pad_id": source.pad_id,
        "max_batch_size": profile.max_batch_size,
        "grouping": asdict(profile.grouping),
    }
    return DoorFiles(copied=(source.tokenizer_file,), settings=settings)


def start_card(source: SourceModel) -> dict[str, Any]:
    """
    Collect what every text model's card tells the façade.

    Args:
        source: The original's files.

    Returns:
        The card, to which the task adds its own.
    """
    return {
        "task": source.task,
        "model_id": source.model_id,
        "revision": source.revision,
        "created": int(time.time()),
        "max_input_tokens": source.max_input_tokens,
        "default_cache_ttl_s": DEFAULT_CACHE_TTL_S,
    }
