"""Image classification: an image's file in, the scores of all labels out."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export.artifacts import Draft, Graph, ParityReport, SourceModel, TensorSpec
from export.config_pbtxt import make_door_config
from export.original_image import load_image_original, read_preprocessing
from export.parity_image import compare_images
from export.profiles import TargetProfile
from export.runtime.image_encoder.images import MAX_PIXELS
from export.tasks.base import DoorFiles
from export.tasks.text_encoder import DEFAULT_CACHE_TTL_S
from export.to_onnx_image import convert_image_classifier

CPU_GROUP_ROWS = 8
"""
Images in one call of a core on a CPU. An image of 224 x 224 is 197 rows of a transformer, so a few fill a processor's
cache already, and two cores share a batch; a GPU takes the whole batch at once.
"""


def convert(source: SourceModel, folder: Path) -> Graph:
    """Trace the classifier, and append its activation."""
    return convert_image_classifier(source, folder)


def door_files(source: SourceModel, graph: Graph, profile: TargetProfile) -> DoorFiles:
    """Give the door the numbers of the image processor."""
    _, processor = load_image_original(source)
    is_cpu = profile.instance_kind == "KIND_CPU"
    settings = {
        "core_inputs": list(graph.input_names),
        "core_output": graph.output_name,
        "width": graph.width,
        "preprocessing": asdict(read_preprocessing(source, processor)),
        "max_pixels": MAX_PIXELS,
        "group_rows": min(CPU_GROUP_ROWS, profile.max_batch_size) if is_cpu else profile.max_batch_size,
        "max_batch_size": profile.max_batch_size,
    }
    return DoorFiles(copied=(), settings=settings)


def card(source: SourceModel, graph: Graph) -> dict[str, Any]:  # noqa: ARG001 - every task's signature
    """Tell the labels, in the order of the scores."""
    return {
        "task": source.task,
        "model_id": source.model_id,
        "revision": source.revision,
        "created": int(time.time()),
        "labels": list(source.labels),
        "default_cache_ttl_s": DEFAULT_CACHE_TTL_S,
    }


def door_config(name: str, card: dict[str, Any], profile: TargetProfile, versions: Sequence[int]) -> Any:
    """Declare the tensor contract: `image` in, `scores` out."""
    inputs = (TensorSpec("image", "BYTES", (1,)),)
    outputs = (TensorSpec("scores", "FP32", (len(card["labels"]),)),)
    return make_door_config(name, card, profile, versions, inputs=inputs, outputs=outputs)


def compare(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """Compare the door's pixels and scores with transformers'."""
    return compare_images(source, draft, precision)
