"""
What runs the core inside Triton, spelled and placed as each native backend reads it.

    onnxruntime                          CPU: its CPU provider. GPU: its CUDA provider.
    onnxruntime, accelerator tensorrt    its TensorRT provider first, CUDA for what that can't take
    tensorrt                             Triton's TensorRT backend with a plan for each kind of GPU

Traps that shape this module:

1. The onnxruntime backend refuses to load a model with an unknown key in the accelerator's block.
2. Four of the CUDA provider's keys are overwritten when given in an accelerator `cuda`: they go into `parameters`.
3. The TensorRT provider gets one profile for every shape; a plan gets several, and Triton picks the nearest one.
4. Outside the profile's shapes the TensorRT provider builds again, while callers wait: the largest has to fit.

Source:
    triton-inference-server/onnxruntime_backend, src/onnxruntime.cc, ModelState::LoadModel;
    triton-inference-server/tensorrt_backend, src/tensorrt_model_instance.cc, GetMostOptimizedProfile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from export.artifacts import Graph, TensorSpec
from export.profiles import EdgesRule, TargetProfile

ENGINE_CACHE_FOLDER = "/var/cache/triton-tensorrt"
"""Where the TensorRT provider keeps what it built, inside Triton's container: mount a folder that stays there."""

PRECISION_MODES = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"}
"""The onnxruntime backend's word for each precision; BF16 from bf2266d, January 2026, on."""

TENSORRT_KEYS = frozenset(
    {
        "precision_mode",
        "max_workspace_size_bytes",
        "trt_engine_cache_enable",
        "trt_engine_cache_path",
        "trt_profile_max_shapes",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_timing_cache_enable",
        "trt_timing_cache_path",
    }
)
"""
The keys of the accelerator `tensorrt` that are used here, each one known to the backend of r24.09 and to the newest's.

Source:
    onnxruntime_backend, src/onnxruntime.cc at r24.09 and 00fd3e8: every `param_key ==`.
"""

CUDA_PARAMETERS = {
    # cuDNN tries its convolutions on a real input by default, at each new shape: heuristics answer at once.
    "cudnn_conv_algo_search": "1",
    # Grow the arena by what is asked for; doubling it can ask for more than a shared GPU has.
    "arena_extend_strategy": "1",
    "do_copy_in_default_stream": "1",
}
"""The CUDA provider's keys, for the config's own `parameters` (see trap 2)."""


@dataclass(frozen=True)
class ShapeRange:
    """The shapes that one optimisation profile covers, by input: batch first."""

    least: Mapping[str, tuple[int, ...]]
    """The smallest shape of each input."""

    usual: Mapping[str, tuple[int, ...]]
    """The shape that kernels are chosen for."""

    largest: Mapping[str, tuple[int, ...]]
    """The largest shape of each input."""


@dataclass(frozen=True)
class CoreEngine:
    """How one core is run."""

    engine: str = "onnxruntime"
    """Triton's backend."""

    accelerator: str = "none"
    """What helps onnxruntime on a GPU."""

    plans: Mapping[str, str] = field(default_factory=dict)
    """For the engine `tensorrt`: the plan's file name by compute capability, such as 8.0."""


def plan_file(compute_capability: str) -> str:
    """
    Name the plan for one kind of GPU.

    Args:
        compute_capability: Such as 7.0.

    Returns:
        The file's name in the core's version folder.
    """
    return f"sm_{compute_capability.replace('.', '')}.plan"


def shape_ranges(inputs: Sequence[TensorSpec], profile: TargetProfile) -> tuple[ShapeRange, ...]:
    """
    Divide the shapes that a core will see into ranges, one for each edge of the profile.

    A range reaches from the previous edge to its own, where the door pads to: kernels are chosen for exactly the
    lengths that occur, and a text that comes without the door still finds a range.

    Args:
        inputs: The core's inputs, without the batch; -1 is the length.

        profile: The target's numbers, fitted to the model.

    Returns:
        The ranges by length; a single one if no input has a length.
    """
    rows = profile.max_batch_size
    usual_rows = max(1, rows // 4)  # at the load where batching starts to matter; not measured here
    edges = profile.grouping.edges if isinstance(profile.grouping, EdgesRule) else ()
    if not edges or all(size >= 0 for spec in inputs for size in spec.dims):
        edges = (1,)
    starts = (1, *(edge + 1 for edge in edges[:-1]))
    return tuple(
        ShapeRange(
            least=_shapes(inputs, 1, start),
            usual=_shapes(inputs, usual_rows, edge),
            largest=_shapes(inputs, rows, edge),
        )
        for start, edge in zip(starts, edges, strict=True)
    )


def whole_range(inputs: Sequence[TensorSpec], profile: TargetProfile) -> ShapeRange:
    """
    Cover all shapes by one range, kernels chosen for the middle length.

    Args:
        inputs: The core's inputs, without the batch.

        profile: The target's numbers, fitted to the model.

    Returns:
        The range.
    """
    ranges = shape_ranges(inputs, profile)
    return ShapeRange(
        least=ranges[0].least, usual=ranges[(len(ranges) - 1) // 2].usual, largest=ranges[-1].largest
    )


def write_engine(config: Any, engine: CoreEngine, graph: Graph, profile: TargetProfile) -> None:
    """
    Write into a core's config what its engine needs.

    Args:
        config: The core's ModelConfig with its name, inputs and one instance group.

        engine: How the core is run.

        graph: What it runs.

        profile: The target's numbers, fitted to the model.
    """
    config.backend = engine.engine
    if engine.engine == "tensorrt":
        _write_plans(config, engine, graph, profile)
        return
    if profile.instance_kind != "KIND_GPU":
        config.parameters["intra_op_thread_count"].string_value = str(profile.core_threads)
        return
    for key, value in CUDA_PARAMETERS.items():
        config.parameters[key].string_value = value
    if engine.accelerator == "tensorrt":
        _write_tensorrt_provider(config, graph, profile)


def _write_plans(config: Any, engine: CoreEngine, graph: Graph, profile: TargetProfile) -> None:
    """Name each GPU's plan, and the profiles that every instance makes a context for."""
    for capability, name in sorted(engine.plans.items()):
        config.cc_model_filenames[capability] = name
    # A GPU without a plan of its own looks for this file, which isn't there: the error names it.
    config.default_model_filename = "model.plan"
    count = len(shape_ranges(graph.inputs, profile))
    config.instance_group[0].profile.extend(str(index) for index in range(count))


def _write_tensorrt_provider(config: Any, graph: Graph, profile: TargetProfile) -> None:
    """Ask for onnxruntime's TensorRT provider, with one profile that covers every shape and a cache that stays."""
    shapes = whole_range(graph.inputs, profile)
    folder = f"{ENGINE_CACHE_FOLDER}/{config.name}"
    values = {
        "precision_mode": PRECISION_MODES[graph.precision],
        "max_workspace_size_bytes": str(profile.workspace_bytes),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": folder,
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": folder,
        "trt_profile_min_shapes": _provider_shapes(shapes.least),
        "trt_profile_opt_shapes": _provider_shapes(shapes.usual),
        "trt_profile_max_shapes": _provider_shapes(shapes.largest),
    }
    accelerator = config.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    for key, value in values.items():
        accelerator.parameters[key] = value


def _shapes(inputs: Sequence[TensorSpec], rows: int, length: int) -> dict[str, tuple[int, ...]]:
    """Give every input its shape at some batch and length."""
    return {spec.name: (rows, *(length if size < 0 else size for size in spec.dims)) for spec in inputs}


def _provider_shapes(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Spell shapes as onnxruntime's TensorRT provider reads them: `input_ids:1x16,attention_mask:1x16`."""
    return ",".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in shapes.items())
