"""A model repository for a real Triton, without an export: small models of each task, ready within a second or two."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

import tests.contract

if TYPE_CHECKING:
    from pathlib import Path

MODEL_NAME = "letters"
DIMENSION = 4
LABELS = ("a", "b", "c", "d")

MODEL = '''
import numpy as np
import triton_python_backend_utils as pb_utils

INPUTS, OUTPUT, WIDTH = %s, "%s", %d

class TritonPythonModel:
    """Counts letters: numbers between 0 and 1 that differ from text to text, and are of unit length together."""

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        columns = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in INPUTS]
        texts = [b" ".join(row) for row in np.concatenate(columns, axis=1)]
        for text in texts:
            if text.startswith(b"%s"):
                raise ValueError(text.decode())
        rows = np.array([[1 + text.count(bytes([97 + i])) for i in range(4)] for text in texts], "float32")
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        outputs = [pb_utils.Tensor(OUTPUT, np.ascontiguousarray(rows[:, :WIDTH]))]
        if "image" not in INPUTS:
            counts = np.array([[len(text.split()) + 2] for text in texts], "uint32")
            outputs.append(pb_utils.Tensor("num_input_tokens", counts))
        return pb_utils.InferenceResponse(outputs)
'''

MODELS: dict[str, tuple[tuple[str, ...], str, int, dict[str, Any]]] = {
    MODEL_NAME: (("text",), "embedding", DIMENSION, {"task": "embedding", "dimension": DIMENSION}),
    "moods": (("text",), "scores", len(LABELS), {"task": "text-classification", "labels": LABELS}),
    "pairs": (("query", "document"), "score", 1, {"task": "reranking"}),
    "sights": (("image",), "scores", len(LABELS), {"task": "image-classification", "labels": LABELS}),
}
"""By name: inputs, output, its width, and what the model card says."""

CRASH = "please-crash"
"""A text that begins so makes a model fail, with the text in its message."""

CHAT_NAME = "vllm_standin"
CHAT_CARD = {
    "task": "text-generation",
    "chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}",
    "max_n": 4,
    "max_logprobs": 5,
    "release": {"stable": 1},
}


def write_repository(folder: Path, *names: str) -> Path:
    """
    Write it.

    Args:
        folder: An empty folder.

        names: Of `MODELS`, and `CHAT_NAME`; the embedding model alone by default.

    Returns:
        The folder.
    """
    for name in names or (MODEL_NAME,):
        if name == CHAT_NAME:
            _write_chat(folder)
        else:
            _write_model(folder, name)
    return folder


def _write_model(folder: Path, name: str) -> None:
    inputs, output, width, card = MODELS[name]
    config = model_config_pb2.ModelConfig(name=name, backend="python", max_batch_size=64)
    config.dynamic_batching.SetInParent()
    for tensor in inputs:
        config.input.add(name=tensor, data_type="TYPE_STRING", dims=[1])
    config.output.add(name=output, data_type="TYPE_FP32", dims=[width])
    if inputs != ("image",):
        config.output.add(name="num_input_tokens", data_type="TYPE_UINT32", dims=[1])
    card = {**card, "max_input_tokens": 512, "default_cache_ttl_s": 3600, "release": {"stable": 1}}
    config.parameters["model_card"].string_value = json.dumps(card)
    version = folder / name / "1"
    version.mkdir(parents=True)
    (version / "model.py").write_text(MODEL % (inputs, output, width, CRASH))
    (version.parent / "config.pbtxt").write_text(text_format.MessageToString(config))


def _write_chat(folder: Path) -> None:
    source = next(iter(tests.contract.__path__))
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(f"{source}/{CHAT_NAME}", folder / CHAT_NAME / "1", ignore=ignored)
    config = model_config_pb2.ModelConfig(name=CHAT_NAME, backend="python")
    config.parameters["model_card"].string_value = json.dumps(CHAT_CARD)
    (folder / CHAT_NAME / "config.pbtxt").write_text(text_format.MessageToString(config))
