"""
fp16 and bf16 for GPUs, written into the graph: what is half and what stays fp32 is decided here, and not by a builder.

TensorRT 11 has no other way (a network is as precise as its graph says), and with the precision in the graph one file
serves onnxruntime's CUDA provider, its TensorRT provider and TensorRT itself; and it is compared with the original on
a CPU, before any GPU is at hand.

fp16    Everything is half but what overflows or loses too much there: sums over many values, exponentials, norms.
        A text's ids and the vector stay int64 and float32.
bf16    The multiplications by matrices are bf16, everything between stays fp32: bf16 has no range to lose, and 8 bits
        of precision are too few for sums and norms. A CPU has no such kernels; `is_emulated` writes the twin whose
        values are rounded as the GPU rounds them, in fp32, so that it runs anywhere.

Source:
    docs.nvidia.com, TensorRT: "Migrating from TensorRT 10.x to 11.x", "Strongly Typed Networks Are Now Required".
"""

from collections.abc import Iterable
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.transformers import float16
from onnxruntime.transformers.onnx_model import OnnxModel

from export.errors import ConversionFailed

SENSITIVE = (
    "LayerNormalization",
    "InstanceNormalization",
    "GroupNormalization",
    "Softmax",
    "LogSoftmax",
    "ReduceL2",
    "ReduceMean",
    "ReduceSum",
    "ReduceSumSquare",
    "Clip",
    "Exp",
    "Expand",
    "Log",
    "Pow",
    "Reciprocal",
    "Sqrt",
)
"""
Operators that stay fp32 in a half graph: their sums pass 65,504, or their small results pass below 6e-8. `Clip` and
`Expand` only carry a length from its sum to its division; in half, it would be rounded on the way.
"""

HALVED = ("MatMul", "Gemm")
"""
Operators that are bf16 in a bf16 graph: where the time goes, and where tensor cores add up in fp32. ONNX has bf16
convolutions from operator set 22 on only; a vision transformer has one of them, which isn't worth it.
"""

_NARROWING = "_cast_to_fp16_node"
"""End of the name that onnxruntime's converter gives to a cast behind an operator that stays fp32."""

LARGEST_FILE_BYTES = 2**31 - 1
"""protobuf's limit; a larger graph has its weights in a file beside it."""


def to_fp16(source: Path, target: Path) -> None:
    """
    Turn a graph into fp16, its inputs and outputs unchanged.

    Args:
        source: The raw fp32 graph.

        target: Where the other goes.

    Raises:
        ConversionFailed: If the converter can't.

        OSError: If it can't be written.
    """
    model = onnx.load(str(source))
    try:
        halved = float16.convert_float_to_float16(
            model,
            keep_io_types=True,
            op_block_list=[*float16.DEFAULT_OP_BLOCK_LIST, *SENSITIVE],
            node_block_list=_normalising_divisions(model.graph),
        )
        _join_casts(halved.graph)
        OnnxModel(halved).topological_sort()  # the converter puts its casts at the end
    except Exception as error:
        raise ConversionFailed(
            f"The graph can't be turned into fp16: {error}. Use --precision fp32."
        ) from error
    save(halved, target)


def to_bf16(source: Path, target: Path, *, is_emulated: bool = False) -> None:
    """
    Turn a graph's matrix multiplications into bf16, its inputs and outputs unchanged.

    Args:
        source: The raw fp32 graph, operator set 13 or later.

        target: Where the other goes.

        is_emulated: True writes fp32 operators over values rounded to bf16, for parity on a CPU.

    Raises:
        OSError: If it can't be written.
    """
    model = onnx.load(str(source))
    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    rounded: dict[str, str] = {}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.op_type not in HALVED:
            nodes.append(node)
            continue
        for place, name in enumerate(node.input):
            if name and name not in rounded:
                rounded[name] = f"{name}_bf16"
                if name in constants:
                    graph.initializer.append(_round(constants[name], rounded[name], is_emulated=is_emulated))
                else:
                    nodes.extend(_casts(name, rounded[name], is_emulated=is_emulated))
            if name:
                node.input[place] = rounded[name]
        outputs = [(f"{name}_as_bf16", name) for name in node.output]
        for place, (inner, _) in enumerate(outputs):
            node.output[place] = inner
        nodes.append(node)
        for inner, name in outputs:
            nodes.extend(_casts(inner, name, is_emulated=is_emulated, is_widening=True))
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    del graph.value_info[:]  # it names types that have changed
    save(model, target)


def save(model: onnx.ModelProto, path: Path) -> None:
    """
    Write a graph, with its weights beside it if it is too large for one file.

    Args:
        model: The graph.

        path: Its file.

    Raises:
        OSError: If it can't be written.
    """
    if model.ByteSize() > LARGEST_FILE_BYTES:
        onnx.save(model, str(path), save_as_external_data=True, location=f"{path.name}_data")
    else:
        onnx.save(model, str(path))


def _normalising_divisions(graph: onnx.GraphProto) -> list[str]:
    """List the divisions by something computed, such as a vector's length; a half quotient is off by 5e-4."""
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == "Constant"}
    return [node.name for node in graph.node if node.op_type == "Div" and node.input[1] not in constants]


def _join_casts(graph: onnx.GraphProto) -> None:
    """
    Let fp32 operators hand fp32 to each other.

    The converter narrows what each of them gives and widens what each takes: between two of them, and before the
    graph's output, a value would be rounded for nothing.
    """
    narrowed = {
        node.output[0]: node.input[0] for node in graph.node if node.name.endswith(_NARROWING) and node.input
    }
    outputs = {output.name for output in graph.output}
    joined: dict[str, str] = {}
    for node in list(graph.node):
        if node.op_type != "Cast" or node.input[0] not in narrowed:
            continue
        if helper.get_node_attr_value(node, "to") != TensorProto.FLOAT:
            continue
        if node.output[0] in outputs:
            node.op_type, node.input[0] = "Identity", narrowed[node.input[0]]
            del node.attribute[:]
        else:
            joined[node.output[0]] = narrowed[node.input[0]]
            graph.node.remove(node)
    for node in graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = joined.get(name, name)
    read = {name for node in graph.node for name in node.input} | outputs
    for node in [node for node in graph.node if node.output[0] in narrowed and node.output[0] not in read]:
        graph.node.remove(node)


def _round(tensor: TensorProto, name: str, *, is_emulated: bool) -> TensorProto:
    """Round a constant to bf16; emulated, the rounded values are kept as float32."""
    array = numpy_helper.to_array(tensor).astype(ml_dtypes.bfloat16)
    return numpy_helper.from_array(array.astype(np.float32) if is_emulated else array, name)


def _casts(
    name: str, result: str, *, is_emulated: bool, is_widening: bool = False
) -> Iterable[onnx.NodeProto]:
    """Make the nodes between a float32 tensor and its bf16 form, in either direction."""
    if is_emulated:
        inner = f"{result}_rounded"
        return (
            helper.make_node("Cast", [name], [inner], name=f"{inner}_cast", to=TensorProto.BFLOAT16),
            helper.make_node("Cast", [inner], [result], name=f"{result}_cast", to=TensorProto.FLOAT),
        )
    to = TensorProto.FLOAT if is_widening else TensorProto.BFLOAT16
    return (helper.make_node("Cast", [name], [result], name=f"{result}_cast", to=to),)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove constants that nothing reads any more."""
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in read]:
        graph.initializer.remove(tensor)
