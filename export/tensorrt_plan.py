"""
Plans for Triton's TensorRT backend, built with TensorRT's Python API on the GPU that will serve them.

A plan holds machine code: it runs on the kind of GPU that built it only, and is read by the TensorRT that built it
only. So it can't be made ahead of time elsewhere; a machine without the GPU is told what to run where.

The network is strongly typed: what is half and what is not stands in the graph (`half_precision`), as TensorRT 11
wants it and TensorRT 10 can. Nothing here sets a precision.

Not run on a GPU by this project: the tests put a stand-in in the place of the module `tensorrt`.

Source:
    docs.nvidia.com, TensorRT, Python API reference: Builder, IBuilderConfig, IOptimizationProfile, OnnxParser.
"""

import importlib
import importlib.util
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.engines import ShapeRange
from export.errors import ConversionFailed, GpuNeeded
from export.targets import Target

TENSORRT = "tensorrt"
"""The module that TensorRT's Python API is imported by."""

NVIDIA_SMI_S = 20
"""Seconds that the driver's tool may take: waking a GPU up takes a few."""


@dataclass(frozen=True)
class FoundGpu:
    """A GPU of this machine."""

    name: str
    """Its maker's name for it."""

    compute_capability: str
    """Such as 8.0."""


def find_gpu() -> FoundGpu | None:
    """
    Ask the driver's own tool for this machine's first GPU.

    Returns:
        The GPU, or None if there is none, or no driver.
    """
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    try:
        answer = subprocess.run(  # noqa: S603 - no input of a user's in it
            [tool, "--query-gpu=name,compute_cap", "--format=csv,noheader"],
            capture_output=True,
            check=True,
            text=True,
            timeout=NVIDIA_SMI_S,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    lines = [line for line in answer.splitlines() if line.strip()]
    if not lines:
        return None
    name, _, capability = lines[0].rpartition(",")
    return FoundGpu(name.strip(), capability.strip())


def require_builder(target: Target, again: Sequence[str]) -> FoundGpu:
    """
    See that this machine can build a plan for a target, before anything slow starts.

    Args:
        target: The GPU that will serve the plan.

        again: The command to repeat where it can.

    Returns:
        This machine's GPU.

    Raises:
        GpuNeeded: If it can't, with what to run where.
    """
    gpu = find_gpu()
    if gpu is None:
        raise GpuNeeded(
            f"A plan for {target.name} is built on such a GPU, and there is none here. {_how(target, again)}"
        )
    if gpu.compute_capability != target.compute_capability:
        raise GpuNeeded(
            f"A plan for {target.name} needs compute capability {target.compute_capability}, and this machine's "
            f"{gpu.name} has {gpu.compute_capability}. {_how(target, again)}"
        )
    if importlib.util.find_spec(TENSORRT) is None:
        raise GpuNeeded(f"TensorRT's Python API isn't installed here. {_how(target, again)}")
    version = str(importlib.import_module(TENSORRT).__version__)
    if not f"{version}.".startswith(f"{target.software.tensorrt}."):
        raise GpuNeeded(
            f"TensorRT {version} is installed here, and {target.software.triton_tensorrt_image} reads plans of "
            f"{target.software.tensorrt} only. {_how(target, again)}"
        )
    return gpu


def build_plan(
    graph: Path, ranges: Sequence[ShapeRange], workspace_bytes: int, timing_cache: Path | None = None
) -> bytes:
    """
    Build a plan from an ONNX graph; takes minutes.

    Args:
        graph: The graph, in the precision that it is to run in.

        ranges: The shapes of each optimisation profile, in the order of the config's profile indexes.

        workspace_bytes: GPU memory that kernels may use while they are tried.

        timing_cache: A file of what kernels took on this GPU, read if it is there and written back; it makes the next
            build of a like model take a fraction. None keeps none.

    Returns:
        The serialised plan.

    Raises:
        ConversionFailed: If TensorRT can't take the graph or finds no kernels, with its own words.
    """
    trt: Any = importlib.import_module(TENSORRT)
    logger = _make_logger(trt)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(graph)):
        reasons = [parser.get_error(place).desc() for place in range(parser.num_errors)]
        raise ConversionFailed(
            f"TensorRT can't read {graph.name}: {'; '.join(reasons) or 'it says nothing more'}. "
            "Use --engine onnxruntime --accelerator tensorrt, which leaves what it can't take to CUDA."
        )
    config = builder.create_builder_config()
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_bytes)
    for shapes in ranges:
        config.add_optimization_profile(_make_profile(builder, shapes))
    cache = _start_timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ConversionFailed(
            f"TensorRT can't build a plan: {'; '.join(logger.errors[-3:]) or 'it says nothing more'}. "
            "Use --precision fp32, a GPU with more memory, or --engine onnxruntime."
        )
    if timing_cache is not None:
        timing_cache.write_bytes(bytes(cache.serialize()))
    return bytes(plan)


def _make_logger(trt: Any) -> Any:
    """Make a logger that keeps the builder's errors, which it tells nowhere else."""

    class Errors(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR}:
                self.errors.append(message.strip())

    return Errors()


def _make_profile(builder: Any, shapes: ShapeRange) -> Any:
    """Make the optimisation profile of one range."""
    profile = builder.create_optimization_profile()
    for name, least in shapes.least.items():
        profile.set_shape(name, least, shapes.usual[name], shapes.largest[name])
    return profile


def _start_timing_cache(config: Any, path: Path | None) -> Any:
    """Give the builder what earlier builds measured; it ignores another GPU's or version's entries."""
    known = path.read_bytes() if path is not None and path.exists() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _how(target: Target, again: Sequence[str]) -> str:
    """Say where the plan can be built, and by which command."""
    software = target.software
    return (
        f"On a machine with {target.title} and TensorRT {software.tensorrt} ({software.tensorrt_install}), "
        f"install this package with its export extra, then run: {shlex.join(again)}"
    )
