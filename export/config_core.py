"""
The config of a core: prepared tensors in, finished rows out, run by the engine that the target asks for.

Its warm-up makes a version ready only when it can answer quickly: on a CPU one short row, on a GPU one row of every
length (TensorRT builds, kernels are chosen) and the largest batch (memory that isn't there is missed before callers
come).

A core on a CPU has no batcher of its own. What the door sends is a batch already, cut to the cheapest shapes, and
hardly two groups are of one length; Triton's batcher (2.51), with shapes waiting that it can't merge, spins: it took
12 to 16 % of the machine's CPU time, and without it mixed lengths ran 1.13 (1.05 to 1.15) times as fast. On a GPU all
lengths are edges, so groups of two doors do merge, and the batcher stays.
"""

from collections.abc import Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2

from export.artifacts import Graph
from export.config_pbtxt import WARMUP_NAME, WARMUP_TOKENS, start_config, triton_datatype
from export.engines import CoreEngine, shape_ranges, write_engine
from export.profiles import TargetProfile

ONNXRUNTIME = CoreEngine()
"""onnxruntime alone: the CPU provider on a CPU, the CUDA provider on a GPU."""


def core_config(
    name: str,
    graph: Graph,
    profile: TargetProfile,
    versions: Sequence[int],
    engine: CoreEngine = ONNXRUNTIME,
) -> Any:
    """
    Describe a core to Triton.

    Args:
        name: The core model's name.

        graph: What it runs: its inputs, its output and the output's width.

        profile: The target's numbers, fitted to the model.

        versions: Versions that Triton serves.

        engine: What runs it.

    Returns:
        The ModelConfig message.
    """
    config = start_config(
        name,
        engine.engine,
        profile.max_batch_size,
        versions,
        instances=profile.core_instances,
        kind=profile.instance_kind,
    )
    for spec in graph.inputs:
        config.input.add(name=spec.name, data_type=triton_datatype(spec), dims=spec.dims)
    config.output.add(name=graph.output_name, data_type=model_config_pb2.TYPE_FP32, dims=[graph.width])
    if profile.instance_kind == "KIND_GPU":
        config.dynamic_batching.SetInParent()
        _add_gpu_warmups(config, graph, profile)
    else:
        _add_warmup(config, graph, WARMUP_NAME, 1, WARMUP_TOKENS)
    write_engine(config, engine, graph, profile)
    return config


def _add_gpu_warmups(config: Any, graph: Graph, profile: TargetProfile) -> None:
    """Add one row of every length, and the largest batch of the longest."""
    ranges = shape_ranges(graph.inputs, profile)
    has_length = any(size < 0 for spec in graph.inputs for size in spec.dims)
    lengths = [next(iter(shapes.largest.values()))[1] for shapes in ranges] if has_length else [WARMUP_TOKENS]
    for place, length in enumerate(lengths):
        name = WARMUP_NAME if place == 0 else f"triton_export_row_of_{length}"
        _add_warmup(config, graph, name, 1, length)
    _add_warmup(config, graph, "triton_export_largest_batch", profile.max_batch_size, lengths[-1])


def _add_warmup(config: Any, graph: Graph, name: str, rows: int, length: int) -> None:
    """Add one warm-up of zeros; random ids could lie outside the vocabulary."""
    warmup = config.model_warmup.add(name=name, batch_size=rows)
    for spec in graph.inputs:
        tensor = warmup.inputs[spec.name]
        tensor.data_type = triton_datatype(spec)
        tensor.dims.extend(length if size < 0 else size for size in spec.dims)
        tensor.zero_data = True
