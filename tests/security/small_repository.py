"""A model repository for a real Triton, without an export: one embedding model that is ready within a second."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

if TYPE_CHECKING:
    from pathlib import Path

MODEL_NAME = "letters"
DIMENSION = 4

MODEL = '''
import numpy as np
import triton_python_backend_utils as pb_utils

class TritonPythonModel:
    """Counts letters: a vector that differs from text to text, and is of unit length."""

    def execute(self, requests):
        responses = []
        for request in requests:
            texts = [row[0] for row in pb_utils.get_input_tensor_by_name(request, "text").as_numpy()]
            rows = np.array([[1 + text.count(bytes([97 + i])) for i in range(4)] for text in texts], "float32")
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            counts = np.array([[len(text.split()) + 2] for text in texts], "uint32")
            outputs = [pb_utils.Tensor("embedding", rows), pb_utils.Tensor("num_input_tokens", counts)]
            responses.append(pb_utils.InferenceResponse(outputs))
        return responses
'''


def write_repository(folder: Path) -> Path:
    """
    Write it.

    Args:
        folder: An empty folder.

    Returns:
        The folder.
    """
    card = {
        "task": "embedding",
        "dimension": DIMENSION,
        "max_input_tokens": 512,
        "default_cache_ttl_s": 3600,
        "release": {"stable": 1},
    }
    config = model_config_pb2.ModelConfig(name=MODEL_NAME, backend="python", max_batch_size=64)
    config.dynamic_batching.SetInParent()
    config.input.add(name="text", data_type="TYPE_STRING", dims=[1])
    config.output.add(name="embedding", data_type="TYPE_FP32", dims=[DIMENSION])
    config.output.add(name="num_input_tokens", data_type="TYPE_UINT32", dims=[1])
    config.parameters["model_card"].string_value = json.dumps(card)
    version = folder / MODEL_NAME / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL)
    (version.parent / "config.pbtxt").write_text(text_format.MessageToString(config))
    return folder
