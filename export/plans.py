"""
Another GPU's plan for a version that is published already: what `triton-export build-plan` does.

A version that was exported for onnxruntime on a GPU becomes one for TensorRT by its first plan; each further kind of
GPU adds its own. The order keeps every reader right: the plans first, which no config names yet, then the one rename
of the core's config, then what records them. Repeating the command completes one that was killed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2

from export import tensorrt_plan
from export.artifacts import Graph, TensorSpec
from export.config_pbtxt import CONFIG_FILE, is_own_core, read_config, served_versions, to_text
from export.disk import as_repository_error, fsync, replace_file
from export.engines import CoreEngine, plan_file, shape_ranges, write_engine
from export.errors import BadInput, RepositoryError
from export.manifest import MANIFEST_FILE, read_manifest
from export.profiles import EdgesRule, TargetProfile, profile_for
from export.progress import Progress
from export.releases import lock_repository
from export.targets import Target
from export.transition import CORE_CONFIG, Folders


@dataclass(frozen=True)
class AddedPlan:
    """What was added."""

    name: str
    """The model's name."""

    versions: tuple[int, ...]
    """The versions that have the plan now."""

    file: str
    """The plan's file name."""


def add_plan(repository: Path, name: str, target: Target, progress: Progress) -> AddedPlan:
    """
    Build a target's plan for every served version of a model, and name it in the core's config.

    Args:
        repository: The model repository.

        name: The model's name.

        target: The kind of GPU in this machine.

        progress: Told about each version.

    Returns:
        What was added.

    Raises:
        BadInput: If the model isn't one that a GPU serves.

        ConversionFailed: If TensorRT can't build the plan; the repository is as it was, but for plans nobody names.

        GpuNeeded: If this machine can't build it.

        RepositoryError: If the repository can't be read or written.
    """
    if target.compute_capability is None:
        raise BadInput("A plan is for a GPU; name one with --target.")
    folders = Folders(repository, name)
    config = _read_gpu_core(folders)
    again = ["triton-export", "build-plan", name, "--target", target.name, "--repository", str(repository)]
    gpu = tensorrt_plan.require_builder(target, again)
    file = plan_file(target.compute_capability)
    versions = served_versions(config)
    for version in versions:
        profile = _version_profile(folders, version, config, target)
        ranges = shape_ranges(_inputs(config), profile)
        with progress.step(f"Building {file} for version {version}"):
            plan = tensorrt_plan.build_plan(_graph_file(folders, version), ranges, profile.workspace_bytes)
        with as_repository_error(repository):
            _write(folders.core / str(version) / file, plan)
    profile = _version_profile(folders, versions[-1], config, target)
    with lock_repository(repository), as_repository_error(repository):
        config = with_plan(_read_gpu_core(folders), target.compute_capability, profile)
        for version in versions:
            _record(folders, version, config, file, {"gpu": gpu.name, "tensorrt": target.software.tensorrt})
        replace_file(folders.core / CONFIG_FILE, to_text(config))
    return AddedPlan(name, tuple(versions), file)


def with_plan(config: Any, compute_capability: str, profile: TargetProfile) -> Any:
    """
    Name one more plan in a core's config; the first one makes TensorRT its engine.

    Args:
        config: The core's ModelConfig message; stays as it is.

        compute_capability: The GPU's, such as 7.0.

        profile: The target's numbers with the version's edges.

    Returns:
        The new ModelConfig message.
    """
    changed = type(config)()
    changed.CopyFrom(config)
    plans = dict(config.cc_model_filenames) | {compute_capability: plan_file(compute_capability)}
    for field in ("optimization", "parameters", "cc_model_filenames"):
        changed.ClearField(field)
    del changed.instance_group[0].profile[:]
    graph = Graph(
        Path("model.onnx"), _inputs(config), config.output[0].name, config.output[0].dims[0], opset=0
    )
    write_engine(changed, CoreEngine("tensorrt", plans=plans), graph, profile)
    return changed


def _read_gpu_core(folders: Folders) -> Any:
    """Read the core's config, if it is one that GPUs serve."""
    config = read_config(folders.core)
    if config is None or not is_own_core(config):
        raise BadInput(
            f"There is no model '{folders.name}' with a core in {folders.repository}. `triton-export list` shows them."
        )
    if config.instance_group[0].kind != model_config_pb2.ModelInstanceGroup.KIND_GPU:
        raise BadInput(
            f"'{folders.name}' was exported for a CPU: its batches and lengths don't fit a GPU. Export it again "
            "with --target."
        )
    return config


def _inputs(config: Any) -> tuple[TensorSpec, ...]:
    """Read a core's inputs back from its config."""
    return tuple(
        TensorSpec(
            spec.name, model_config_pb2.DataType.Name(spec.data_type).removeprefix("TYPE_"), tuple(spec.dims)
        )
        for spec in config.input
    )


def _version_profile(folders: Folders, version: int, config: Any, target: Target) -> TargetProfile:
    """Take the target's numbers with the version's own lengths and the core's own batch."""
    path = folders.door / str(version) / "door.json"
    try:
        grouping = json.loads(path.read_text(encoding="utf-8")).get("grouping", {})
    except (OSError, ValueError) as error:
        raise RepositoryError(f"{path} can't be read ({error}). Export the model again.") from error
    profile = replace(profile_for(target.name), max_batch_size=config.max_batch_size)
    edges = tuple(grouping.get("edges", ()))
    return replace(profile, grouping=EdgesRule(edges)) if edges else profile


def _graph_file(folders: Folders, version: int) -> Path:
    """Find the graph that a version's plans are built from."""
    path = folders.core / str(version) / "model.onnx"
    if not path.is_file():
        raise RepositoryError(f"{path} is missing, and plans are built from it. Export the model again.")
    return path


def _write(path: Path, content: bytes) -> None:
    """Write a file whole: beside its place, to the disk, then renamed."""
    new = path.with_name(f".{path.name}.new")
    with new.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    fsync(path.parent)


def _record(folders: Folders, version: int, config: Any, file: str, made: Mapping[str, str]) -> None:
    """Note a plan in its version's own config and manifest."""
    door = folders.door / str(version)
    if (door / CORE_CONFIG).exists():
        bare = type(config)()
        bare.CopyFrom(config)
        bare.version_policy.specific.versions[:] = ()
        replace_file(door / CORE_CONFIG, to_text(bare))
    manifest = read_manifest(door)
    if manifest is None:
        return
    manifest.setdefault("plans", {})[file] = dict(made)
    written = {f"core/{file}": folders.core / str(version) / file, f"door/{CORE_CONFIG}": door / CORE_CONFIG}
    for part, path in written.items():
        if path.exists() and (part.startswith("core/") or part in manifest["files"]):
            manifest["files"][part] = hashlib.sha256(path.read_bytes()).hexdigest()
    replace_file(door / MANIFEST_FILE, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
