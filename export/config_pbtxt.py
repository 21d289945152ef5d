"""
The `config.pbtxt` of a door, and what every config shares: Triton's own protobuf message, written and parsed back.

What no config here may hold: an optional input (it splits batches), `response_cache` (its key ignores shapes).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from export.artifacts import TensorSpec
from export.errors import RepositoryError
from export.profiles import TargetProfile

CONFIG_FILE = "config.pbtxt"
"""Name that Triton expects."""

WARMUP_NAME = "triton_export_short_row"
"""Name of the core's warm-up; no other model has it."""

WARMUP_TOKENS = 16
"""Length of the warm-up row; any length makes the runtime allocate its buffers before the first caller waits."""


def make_door_config(
    name: str,
    card: dict[str, Any],
    profile: TargetProfile,
    versions: Sequence[int],
    *,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> Any:
    """
    Describe a door: what callers send, finished answers out.

    Args:
        name: The model's name.

        card: The model card, as the façade reads it.

        profile: The target's numbers.

        versions: Versions that Triton serves.

        inputs: What callers send.

        outputs: What they get.

    Returns:
        The ModelConfig message.
    """
    # Whatever the core runs on, a door is Python on the CPU.
    config = start_config(
        name, "python", profile.max_batch_size, versions, instances=profile.door_instances, kind="KIND_CPU"
    )
    config.dynamic_batching.SetInParent()
    for spec in inputs:
        config.input.add(name=spec.name, data_type=triton_datatype(spec), dims=spec.dims)
    for spec in outputs:
        config.output.add(name=spec.name, data_type=triton_datatype(spec), dims=spec.dims)
    config.parameters["model_card"].string_value = json.dumps(card, separators=(",", ":"), sort_keys=True)
    return config


def triton_datatype(spec: TensorSpec) -> int:
    """
    Translate a datatype from KServe's spelling to the config's.

    Args:
        spec: The tensor.

    Returns:
        The number of Triton's `DataType`.
    """
    name = "STRING" if spec.datatype == "BYTES" else spec.datatype
    return int(model_config_pb2.DataType.Value(f"TYPE_{name}"))


def to_text(config: Any) -> str:
    """
    Write a config as Triton reads it, and read it back to be sure.

    Args:
        config: A ModelConfig message.

    Returns:
        The text of `config.pbtxt`.
    """
    text: str = text_format.MessageToString(config)
    if from_text(text) != config:
        raise RepositoryError(
            f"The config of '{config.name}' doesn't survive being written. Report this model."
        )
    return text


def from_text(text: str) -> Any:
    """
    Parse the text of a `config.pbtxt`.

    Args:
        text: Its content.

    Returns:
        The ModelConfig message.

    Raises:
        google.protobuf.text_format.ParseError: If Triton couldn't read it either.
    """
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def read_config(model_folder: Path) -> Any | None:
    """
    Read a model's config from the repository.

    Args:
        model_folder: The model's folder.

    Returns:
        The ModelConfig message, or None if the model has no config file.

    Raises:
        RepositoryError: If there is one that can't be read.
    """
    path = model_folder / CONFIG_FILE
    try:
        return from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, text_format.ParseError) as error:
        raise RepositoryError(
            f"{path} can't be read ({error}). Repair it or remove the model's folders, then export again."
        ) from error


def read_card(config: Any) -> dict[str, Any] | None:
    """
    Read the model card out of a door's config.

    Args:
        config: A ModelConfig message.

    Returns:
        The card, or None if this isn't a door that the export wrote.
    """
    if "model_card" not in config.parameters:
        return None
    try:
        card = json.loads(config.parameters["model_card"].string_value)
    except (ValueError, RecursionError):
        return None
    return card if isinstance(card, dict) else None


def is_own_core(config: Any) -> bool:
    """
    Tell a core that the export wrote from somebody else's model of that name.

    Args:
        config: A ModelConfig message.

    Returns:
        True if it has the warm-up that only the export writes.
    """
    return any(warmup.name == WARMUP_NAME for warmup in config.model_warmup)


def served_versions(config: Any) -> list[int]:
    """
    Read which versions a config serves.

    Args:
        config: A ModelConfig message.

    Returns:
        The versions, ascending.
    """
    return sorted(config.version_policy.specific.versions)


def start_config(
    name: str, backend: str, max_batch_size: int, versions: Sequence[int], *, instances: int, kind: str
) -> Any:
    """
    Start a config with what a door and a core share.

    Args:
        name: The model's name.

        backend: Triton's backend.

        max_batch_size: Rows of one execution.

        versions: Versions that Triton serves.

        instances: How many copies run.

        kind: Triton's instance kind.

    Returns:
        The ModelConfig message, without inputs, outputs and batcher.
    """
    config = model_config_pb2.ModelConfig(name=name, backend=backend, max_batch_size=max_batch_size)
    config.instance_group.add(count=instances, kind=model_config_pb2.ModelInstanceGroup.Kind.Value(kind))
    config.version_policy.specific.versions.extend(sorted(set(versions)))
    return config
