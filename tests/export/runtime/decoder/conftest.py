"""A small Llama with random weights, as transformers has it and as the decoder runs it; made once for the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.export.runtime.decoder.tiny_tokenizers import save_byte_level

if TYPE_CHECKING:
    from pathlib import Path

LAYERS, KV_HEADS, HEAD_DIM, VOCAB_SIZE = 2, 2, 16, 512
MAX_MODEL_LEN = 1024
SLOTS = 8
PREFILL_CHUNK = 128


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a random Llama whose greedy answers vary, with a tokenizer beside it."""
    # Ten seconds of imports that only tests with a real graph should wait for.
    import torch  # noqa: PLC0415
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    folder = tmp_path_factory.mktemp("tiny_llama")
    torch.manual_seed(20)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=MAX_MODEL_LEN,
        # Weights ten times as large as usual: else every prompt has nearly the same likeliest token.
        initializer_range=0.2,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    save_byte_level(folder).rename(folder / "tokenizer.json")
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_decoder(tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the graph of that Llama and its `decoder.json`; nobody writes into the folder."""
    folder = tmp_path_factory.mktemp("tiny_decoder")
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    command += [
        "-i",
        str(tiny_llama),
        "-o",
        str(folder),
        "-p",
        "fp32",
        "-e",
        "cpu",
        "-c",
        str(folder / "cache"),
    ]
    command += ["--extra_options", "prune_lm_head=true", "hf_token=false"]
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for file in folder.iterdir():
        if file.is_file() and not file.name.startswith("model.onnx"):
            file.unlink()
    settings = {
        "graph": "model.onnx",
        "layers": LAYERS,
        "kv_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "vocab_size": VOCAB_SIZE,
        "kv_dtype": "float32",
        "max_model_len": MAX_MODEL_LEN,
        "slots": SLOTS,
        "prefill_chunk": PREFILL_CHUNK,
        "kv_memory_bytes": 64 * 2**20,
        "threads": 2,
        "eos_token_ids": [1],
        "bos_token_id": 0,
        "max_n": 4,
        "max_logprobs": 5,
        "max_queued": 1024,
    }
    (folder / "decoder.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder
