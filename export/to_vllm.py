"""
A model for Triton's vLLM backend: no graph, but the two JSON files that this backend reads beside the weights.

The weights stay where they are. A model from the hub is named by its id and pinned to its commit, so that the GPU
machine fetches it, or finds it in its hub cache. A folder is named by its path: the GPU machine has to see it under
the same one (`--served-path` names another).

What is written is what the backend reads; vLLM itself needs a GPU, and was not run here.

Source:
    triton-inference-server/vllm_backend 00ea75b, src/model.py: `model.json` becomes `AsyncEngineArgs(**…)`, and
    `multi_lora.json` maps names to folders if `enable_lora` is true.
"""

import json
import re
from pathlib import Path
from typing import Any

from export.artifacts import SourceModel
from export.errors import BadInput
from export.options import GenerationOptions

ENGINE_FILE = "model.json"
LORA_FILE = "multi_lora.json"

GPU_MEMORY_UTILIZATION = 0.9
"""Share of a GPU that vLLM takes; its own default. Less where other models live on the same GPU."""

_LORA_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def write_vllm_files(source: SourceModel, options: GenerationOptions, folder: Path) -> Path:
    """
    Write what Triton's vLLM backend reads.

    Args:
        source: The model's files.

        options: Parallelism, number format, length, adapters.

        folder: What becomes the version's folder.

    Returns:
        The file with the engine's arguments.

    Raises:
        BadInput: If an adapter isn't one, or the length is beyond the model's.
    """
    folder.mkdir(parents=True, exist_ok=True)
    loras = {name: check_lora(name, path) for name, path in options.loras}
    arguments = engine_arguments(source, options, max_lora_rank=max(loras.values(), default=0))
    path = folder / ENGINE_FILE
    path.write_text(json.dumps(arguments, indent=2) + "\n", encoding="utf-8")
    if loras:
        content = json.dumps(dict(options.loras), indent=2)
        (folder / LORA_FILE).write_text(content + "\n", encoding="utf-8")
    return path


def engine_arguments(source: SourceModel, options: GenerationOptions, max_lora_rank: int) -> dict[str, Any]:
    """
    Collect the arguments of vLLM's engine.

    Args:
        source: The model's files.

        options: Parallelism, number format, length, adapters.

        max_lora_rank: The largest rank of the adapters; 0 without any.

    Returns:
        The content of `model.json`, in the names of vLLM's `AsyncEngineArgs`.

    Raises:
        BadInput: If the length is beyond the model's, or its heads can't be split over so many GPUs.
    """
    if options.max_model_len is not None and options.max_model_len > source.max_input_tokens:
        raise BadInput(
            f"--max-model-len {options.max_model_len} is beyond the model's context of {source.max_input_tokens} "
            "tokens. Ask for less."
        )
    check_heads(source, options.tensor_parallel_size)
    arguments: dict[str, Any] = {
        "model": source.model_id if source.revision else options.served_path or str(source.folder),
        "dtype": options.dtype,
        "max_model_len": options.max_model_len or source.max_input_tokens,
        "tensor_parallel_size": options.tensor_parallel_size,
        "gpu_memory_utilization": GPU_MEMORY_UTILIZATION,
        "enable_prefix_caching": True,
        # The backend reports vLLM's metrics only while vLLM counts.
        "disable_log_stats": False,
    }
    if source.revision:
        arguments |= {"revision": source.revision, "tokenizer_revision": source.revision}
    if source.trust_remote_code:
        arguments["trust_remote_code"] = True
    if options.loras:
        arguments |= {
            "enable_lora": True,
            "max_loras": len(options.loras),
            "max_lora_rank": lora_rank_limit(max_lora_rank),
        }
    return arguments


def check_heads(source: SourceModel, tensor_parallel_size: int) -> None:
    """
    See that the attention's heads can be split over so many GPUs, as vLLM will ask at load.

    Args:
        source: The model's files.

        tensor_parallel_size: How many GPUs.

    Raises:
        BadInput: If they can't.
    """
    config = json.loads((source.folder / "config.json").read_text(encoding="utf-8"))
    heads = config.get("num_attention_heads") or config.get("n_head") or tensor_parallel_size
    if heads % tensor_parallel_size:
        raise BadInput(
            f"The {heads} attention heads of '{source.model_id}' can't be split over {tensor_parallel_size} GPUs. "
            f"Choose a divisor of {heads} for --tensor-parallel-size."
        )


def check_lora(name: str, path: str) -> int:
    """
    See that an adapter is one that vLLM can load.

    Args:
        name: The name that callers send as `lora_name`.

        path: Its folder.

    Returns:
        Its rank.

    Raises:
        BadInput: If the name or the folder can't be one.
    """
    if not _LORA_NAME.fullmatch(name):
        raise BadInput(f"{name!r} can't name an adapter. Use letters, digits, dots, dashes or underscores.")
    file = Path(path) / "adapter_config.json"
    try:
        adapter = json.loads(file.read_text(encoding="utf-8"))
        return int(adapter["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"--lora {name}={path}: {file} can't be read or has no rank 'r' ({type(error).__name__}). "
            "Give the folder of a PEFT LoRA adapter."
        ) from error


def lora_rank_limit(rank: int) -> int:
    """
    Find the `max_lora_rank` to ask vLLM for.

    Args:
        rank: The largest rank of the adapters.

    Returns:
        The smallest limit that vLLM knows and that holds it.

    Raises:
        BadInput: If there is none.

    Source:
        vLLM, `vllm/config/lora.py`: 8, 16, 32, 64, 128, 256, 320 and 512; 8 also holds smaller ones.
    """
    for limit in (8, 16, 32, 64, 128, 256, 320, 512):
        if rank <= limit:
            return limit
    raise BadInput(f"An adapter has rank {rank}; vLLM takes 512 at most. Leave it out.")
