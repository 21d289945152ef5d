"""
What an export was asked for, checked before anything slow starts.

This module imports nothing but the standard library: the command line answers at once because of it.
Targets, engines and precisions stand in `targets`.
"""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export.errors import BadInput
from export.targets import PRECISIONS, check_target, find_target

TASKS = ("embedding", "text-classification", "reranking", "image-classification", "text-generation")
"""Every task of the tensor contract, by Hugging Face's name for it."""

BUILT_PRECISIONS = PRECISIONS
"""Precisions that encoders can be exported in now."""

CORE_SUFFIX = "_core"
"""What the core model's name adds to the door's."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


@dataclass(frozen=True)
class GenerationOptions:
    """What is asked for of a generator; all but the first go to Triton's vLLM backend."""

    max_model_len: int | None = None
    """Prompt and answer of one row together, in tokens; None: what the model reads and the memory holds."""

    tensor_parallel_size: int = 1
    """GPUs that one model is split over."""

    dtype: str = "auto"
    """Number format of weights and activations, in vLLM's words; auto: the one the weights are stored in."""

    loras: tuple[tuple[str, str], ...] = ()
    """LoRA adapters: name that callers send, and folder as the GPU machine sees it."""

    served_path: str | None = None
    """Folder of the weights as the GPU machine sees it; None: the same as here."""

    def to_json(self) -> dict[str, Any]:
        """Return the options as the manifest records them, equal to what is read back from the file."""
        return asdict(self) | {"loras": [list(pair) for pair in self.loras]}


@dataclass(frozen=True)
class ExportOptions:
    """One export, as asked for on the command line."""

    model: str
    """A folder, or a model id on the hub."""

    name: str
    """The model's name in Triton and in the façade's API."""

    repository: Path
    """The model repository to publish into; made if it isn't there."""

    task: str | None = None
    """None: found from the model's own files."""

    target: str = "cpu"
    """The hardware it will run on; picks the profile."""

    engine: str = "onnxruntime"
    """What runs the graph inside Triton."""

    accelerator: str = "none"
    """What helps onnxruntime on a GPU: none, or tensorrt."""

    precision: str = "fp32"
    """The number format of the weights; fp32 is equal to the original, auto is the fastest that passes parity."""

    revision: str | None = None
    """A branch, tag or commit on the hub; None is the default branch."""

    model_id: str | None = None
    """The id to record when *model* is a folder; None records the folder's name."""

    trust_remote_code: bool = False
    """True lets the model's own Python code run on this machine."""

    generation: GenerationOptions = GenerationOptions()
    """What only generators have."""

    skip_existing: bool = False
    """True publishes nothing when the stable version was made from the same source in the same way."""

    candidate: bool = False
    """True only puts the version on disk, for a later `canary`; a model's first version is stable all the same."""

    tritons: tuple[str, ...] = ()
    """``host:port`` of running Tritons that are to follow."""

    @property
    def core_name(self) -> str:
        """Name of the Triton model that runs the graph."""
        return self.name + CORE_SUFFIX


def check_options(options: ExportOptions) -> None:
    """
    Refuse what can't be exported, before any heavy import.

    Args:
        options: What was asked for.

    Raises:
        BadInput: If the name can't be a Triton model's or a folder's, or the target can't do what is asked of it.
    """
    check_name(options.name)
    if options.task is not None:
        check_task(options.task)
    check_target(find_target(options.target), options.engine, options.accelerator, options.precision)
    check_generation(options)


def check_generation(options: ExportOptions) -> None:
    """
    Refuse what only Triton's vLLM backend understands, where another engine is asked for.

    Args:
        options: What was asked for.

    Raises:
        BadInput: If there is such an option.
    """
    asked, plain = options.generation, GenerationOptions()
    for flag, field in (
        ("--tensor-parallel-size", "tensor_parallel_size"),
        ("--dtype", "dtype"),
        ("--lora", "loras"),
        ("--served-path", "served_path"),
    ):
        if options.engine != "vllm" and getattr(asked, field) != getattr(plain, field):
            raise BadInput(f"{flag} is for --engine vllm, not for {options.engine}. Leave it out.")


def check_name(name: str) -> None:
    """
    Refuse a name that Triton, a URL or a file system can't take, or that a core model would have.

    Args:
        name: The name asked for.

    Raises:
        BadInput: If it isn't 1 to 63 of a-z, 0-9, dot, dash, underscore, or ends in the core's suffix.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(
            f"{name!r} can't be a model name. Use 1 to 63 lower-case letters, digits, dots, dashes or "
            "underscores, starting with a letter or digit."
        )
    if name.endswith(CORE_SUFFIX):
        raise BadInput(
            f"{name!r} ends in '{CORE_SUFFIX}', which names the inner models. Choose another name."
        )


def check_task(task: str) -> None:
    """
    Refuse a task that doesn't exist.

    Args:
        task: A task's name.

    Raises:
        BadInput: If there is no such task at all.
    """
    if task not in TASKS:
        raise BadInput(f"There is no task '{task}'. Use {_either(TASKS)}.")


def _either(choices: tuple[str, ...]) -> str:
    """Join choices for a sentence: 'a', 'b' or 'c'."""
    quoted = [f"'{choice}'" for choice in choices]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} or {quoted[-1]}"
