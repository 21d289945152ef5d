"""One Llama of 88 million random weights, as each contender wants it; made once and kept."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level
from tests.load.machine import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = CHECKOUT / ".cache" / "bench" / "decoder"
LAYERS, HEADS, KV_HEADS, HEAD_DIM, VOCAB_SIZE = 12, 12, 4, 64, 8000
FEED_FORWARD = 2048
CONTEXT_TOKENS = 2048
THREADS = 2
PRECISIONS = ("fp32", "int8", "int8-dynamic")
"""
Number formats: as they are; the builder's, in blocks of weights; and one scale a channel of weights and a tensor of
activations, which is faster but lets the rows of a batch change each other's last digits.
"""


def make_original() -> Path:
    """
    Save the model as transformers does.

    Returns:
        Its folder.
    """
    folder = FOLDER / "original"
    if (folder / "model.safetensors").exists():
        return folder
    import torch  # noqa: PLC0415 - ten seconds that a run with a ready model doesn't wait for
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=HEADS * HEAD_DIM,
        intermediate_size=FEED_FORWARD,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=False,
    )
    save_byte_level(folder).rename(folder / "tokenizer.json")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def make_graph(precision: str) -> Path:
    """
    Build the graph, with everything that onnxruntime-genai wants beside it.

    Args:
        precision: The number format of its weights.

    Returns:
        The folder with `model.onnx`.
    """
    folder = FOLDER / precision
    if precision == "int8-dynamic":
        return _quantize(folder)
    if (folder / "genai_config.json").exists():
        return folder
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(make_original()), "-o", str(folder), "-p", precision, "-e", "cpu"]
    command += ["-c", str(FOLDER / "cache"), "--extra_options", "prune_lm_head=true", "hf_token=false"]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline}, check=False)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    path = folder / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    options = config["model"]["decoder"]["session_options"]
    options["intra_op_num_threads"] = THREADS
    path.write_text(json.dumps(config, indent=2), encoding="utf-8")
    return folder


def _quantize(folder: Path) -> Path:
    """Quantize the fp32 graph as ONNX Runtime does without calibration."""
    path = folder / "model.onnx"
    if not path.exists():
        from onnxruntime.quantization import QuantType, quantize_dynamic  # noqa: PLC0415 - slow to import

        folder.mkdir(parents=True, exist_ok=True)
        quantize_dynamic(
            make_graph("fp32") / "model.onnx",
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            # Without VNNI two products of full range overflow 16 bits.
            reduce_range=True,
            weight_type=QuantType.QInt8,
            extra_options={"DefaultTensorType": 1, "MatMulConstBOnly": True},
        )
    return folder
