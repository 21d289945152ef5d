"""
From a causal language model to the graph that the decoder runtime drives.

The graph is made by onnxruntime-genai's model builder, in a process of its own: it prints, imports torch, and may
need more memory than there is. Afterwards the graph's inputs and outputs are compared with what the runtime binds:
token ids, a mask and one growing cache a layer, and nothing else.

What the number formats are, as the builder (0.15) makes them for a CPU:
    fp32    the weights as they are
    int8    weights in 8 bits by blocks of 32 (MatMulNBits), the other side of each product in 8 bits as well
    int4    the same with 4 bits
fp16 is refused: the attention that keeps each row at its own length has no such kernel on a CPU.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from export.artifacts import Graph, SourceModel, TensorSpec
from export.errors import BadInput, ConversionFailed, ModelUnreadable

ROPE_TYPES: Mapping[str, tuple[str, ...]] = {
    "Ernie4_5ForCausalLM": (),
    "Gemma2ForCausalLM": (),
    "Gemma3ForCausalLM": ("linear",),
    "GemmaForCausalLM": (),
    "GraniteForCausalLM": (),
    "HunYuanDenseV1ForCausalLM": (),
    "LlamaForCausalLM": ("llama3",),
    "MistralForCausalLM": ("linear", "yarn"),
    "NemotronForCausalLM": (),
    "OlmoForCausalLM": (),
    "Phi3ForCausalLM": (),
    "PhiForCausalLM": (),
    "Qwen2ForCausalLM": ("linear", "yarn"),
    "Qwen3ForCausalLM": ("linear", "yarn"),
    "SmolLM3ForCausalLM": ("llama3",),
}
"""
Architectures whose graph the runtime can drive, each with the stretched rotary positions (`rope_scaling`) that the
builder reproduces; the plain ones it always does.

Source:
    onnxruntime-genai 0.15.2, models/builder.py and models/builders: `LlamaModel` heeds llama3 only, `Model` the others.
"""

PRECISIONS = ("fp32", "int8", "int4")
"""Number formats that the decoder runtime runs on a CPU."""

_LAST_LINES = 3


def check_convertible(source: SourceModel) -> None:
    """
    Refuse what the builder lacks or gets wrong, before anything is loaded.

    Args:
        source: The model's files.

    Raises:
        BadInput: If the architecture, its positions, its widths or its weights' format isn't one of those that work.
    """
    config = read_config(source)
    architecture = (config.get("architectures") or ["(none)"])[0]
    if architecture not in ROPE_TYPES:
        raise BadInput(
            f"'{source.model_id}' is a {architecture}, which --engine onnxruntime can't export. What it can: "
            f"{', '.join(sorted(ROPE_TYPES))}. Use one of these, or --engine vllm on a GPU."
        )
    scaling = config.get("rope_scaling") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    if kind not in {"default", *ROPE_TYPES[architecture]}:
        raise BadInput(
            f"'{source.model_id}' stretches its positions by rope_scaling '{kind}', which --engine onnxruntime can't "
            f"reproduce for {architecture}. Set rope_scaling to null in config.json for the plain context, or use "
            "--engine vllm on a GPU."
        )
    if config.get("vocab_size") in {config.get("intermediate_size"), config.get("hidden_size")}:
        # NOTE: the builder takes the first layer of that width for the last one, and writes a graph that ends there.
        raise BadInput(
            f"'{source.model_id}' has a layer as wide as its vocabulary ({config['vocab_size']}), which "
            "--engine onnxruntime can't export. Use --engine vllm on a GPU."
        )
    if "quantization_config" in config:
        method = config["quantization_config"].get("quant_method", "some method")
        raise BadInput(
            f"The weights of '{source.model_id}' are quantized already ({method}). Give the original model, and choose "
            "the number format with --precision."
        )


def build_decoder(source: SourceModel, folder: Path, precision: str) -> Graph:
    """
    Build the graph of a causal language model for a CPU.

    Args:
        source: The model's files.

        folder: Where the graph goes; holds nothing else afterwards.

        precision: One of `PRECISIONS`.

    Returns:
        The graph: `model.onnx`, its weights beside it.

    Raises:
        BadInput: If the architecture or the precision isn't one that works.

        ConversionFailed: If the builder fails, or its graph isn't one that the runtime can drive.
    """
    if precision not in PRECISIONS:
        raise BadInput(
            f"A decoder in {precision} doesn't run on a CPU. Use --precision {', '.join(PRECISIONS[:-1])} or "
            f"{PRECISIONS[-1]}, or --engine vllm on a GPU."
        )
    check_convertible(source)
    folder.mkdir(parents=True, exist_ok=True)
    run_builder(source, folder, precision)
    for extra in folder.iterdir():
        # The builder writes the tokenizer anew, which isn't the source's byte for byte.
        if not extra.name.startswith("model.onnx"):
            extra.unlink()
    return read_graph(source, folder / "model.onnx", precision)


def run_builder(source: SourceModel, folder: Path, precision: str) -> None:
    """
    Run onnxruntime-genai's model builder to its end.

    Args:
        source: The model's files.

        folder: Where it writes.

        precision: Its name of the number format.

    Raises:
        ConversionFailed: If it ends with an error; the last lines that it printed are in the message.
    """
    options = ["prune_lm_head=true", "hf_token=false"]
    if precision == "int8":
        # NOTE: 0.15.2 looks for tied 8-bit embeddings under the name of the 4-bit ones; the graph doesn't load.
        options.append("shared_embeddings=false")
    if source.trust_remote_code:
        options.append("hf_remote=true")
    command = [sys.executable, "-m", "onnxruntime_genai.models.builder"]
    command += ["-i", str(source.folder), "-o", str(folder), "-p", precision, "-e", "cpu"]
    command += ["-c", str(folder / "cache"), "--extra_options", *options]
    # Nothing is fetched: the files are here, and a name in them must not lead to others.
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "ORT_DISABLE_TELEMETRY": "1"}
    done = subprocess.run(  # noqa: S603 - our own interpreter, arguments as a list
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, **offline},
        check=False,
    )
    # The builder mostly removes it itself.
    shutil.rmtree(folder / "cache", ignore_errors=True)
    if done.returncode == 0:
        return
    if done.returncode < 0:
        raise ConversionFailed(
            f"The builder was killed (signal {-done.returncode}) while it converted '{source.model_id}', most "
            "likely for memory: it holds the weights in fp32. Use a machine with more of it, or a smaller model."
        )
    said = " / ".join(line.strip() for line in done.stdout.strip().splitlines()[-_LAST_LINES:])
    raise ConversionFailed(
        f"'{source.model_id}' can't be converted: {said.rstrip('.')}. Check that transformers loads it."
    )


def read_graph(source: SourceModel, path: Path, precision: str) -> Graph:
    """
    See that a graph has what the decoder runtime binds, and describe it.

    Args:
        source: The model's files, for the message.

        path: The graph.

        precision: Number format of its weights.

    Returns:
        The graph; its inputs are the ids, the mask, and the caches by layer.

    Raises:
        ConversionFailed: If an input or output is missing, or is one that the runtime doesn't know.
    """
    model = onnx.load(str(path), load_external_data=False)
    inputs = {value.name: value.type.tensor_type for value in model.graph.input}
    outputs = {value.name: value.type.tensor_type for value in model.graph.output}
    layers = sum(name.endswith(".key") for name in inputs)
    caches = [f"past_key_values.{layer}.{part}" for layer in range(layers) for part in ("key", "value")]
    presents = {name.replace("past_key_values", "present") for name in caches}
    if set(inputs) != {"input_ids", "attention_mask", *caches} or set(outputs) != {"logits", *presents}:
        strange = sorted(set(inputs) - {"input_ids", "attention_mask", *caches})
        raise ConversionFailed(
            f"The graph of '{source.model_id}' has inputs that the decoder can't fill: "
            f"{', '.join(strange) or 'other caches'}. Use a model with plain attention in every layer, or --engine "
            "vllm on a GPU."
        )
    widths = {inputs[name].shape.dim[1].dim_value for name in caches}
    if len(widths) != 1 or {value.elem_type for value in outputs.values()} != {onnx.TensorProto.FLOAT}:
        raise ConversionFailed(
            f"The layers of '{source.model_id}' keep caches of different sizes or number formats. Use --engine vllm "
            "on a GPU."
        )
    config = read_config(source)
    # The builder leaves this one open in the caches' shapes.
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    cache_dims = (widths.pop(), -1, int(head_dim))
    ids = [TensorSpec(name, "INT64", (-1,)) for name in ("input_ids", "attention_mask")]
    return Graph(
        path=path,
        inputs=(*ids, *(TensorSpec(name, "FP32", cache_dims) for name in caches)),
        output_name="logits",
        width=outputs["logits"].shape.dim[2].dim_value,
        opset=next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
        precision=precision,
    )


def read_config(source: SourceModel) -> dict[str, Any]:
    """
    Read a model's `config.json`.

    Args:
        source: The model's files.

    Returns:
        Its content.

    Raises:
        ModelUnreadable: If it isn't there or isn't JSON.
    """
    path = source.folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelUnreadable(f"{path} can't be read ({error}). Download the model again.") from error
    return dict(config)
