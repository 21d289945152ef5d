"""Small encoder graphs of real operators and random weights, made without any framework: an image's and a text's."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from export.artifacts import Graph, TensorSpec

PIXELS = 8
"""Height and width of the image graph's input."""

WIDTH = 16
"""Length of both graphs' vectors."""

_OPSET = 18


def make_image_graph(folder: Path) -> Graph:
    """
    Make a graph of a float input: convolution, mean over places, normalisation, a matrix, a vector of length 1.

    Args:
        folder: Where its file goes, alone.

    Returns:
        The graph.
    """
    chooser = np.random.default_rng(0)
    weights = {
        "kernel": chooser.normal(size=(32, 3, 3, 3)),
        "scale": np.ones(32),
        "bias": np.zeros(32),
        "matrix": chooser.normal(size=(32, WIDTH)),
        "least": np.array(1e-9),
    }
    nodes = [
        helper.make_node("Conv", ["pixel_values", "kernel"], ["places"], "conv"),
        helper.make_node("GlobalAveragePool", ["places"], ["pooled"], "pool"),
        helper.make_node("Flatten", ["pooled"], ["flat"], "flatten"),
        helper.make_node("LayerNormalization", ["flat", "scale", "bias"], ["normal"], "norm"),
        *_head("normal", "matrix"),
    ]
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["rows", 3, PIXELS, PIXELS])]
    spec = TensorSpec("pixel_values", "FP32", (3, PIXELS, PIXELS))
    return _save(folder, nodes, inputs, weights, spec)


def make_text_graph(folder: Path) -> Graph:
    """
    Make a graph of token ids: a table, a matrix, the mean over tokens, a vector of length 1.

    Args:
        folder: Where its file goes, alone.

    Returns:
        The graph.
    """
    chooser = np.random.default_rng(1)
    weights = {
        "table": chooser.normal(size=(50, 32)),
        "matrix": chooser.normal(size=(32, WIDTH)),
        "least": np.array(1e-9),
        "axis": np.array([1], dtype=np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows_of_table"], "embed"),
        helper.make_node("ReduceMean", ["rows_of_table", "axis"], ["mean"], "mean", keepdims=0),
        *_head("mean", "matrix"),
    ]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["rows", "tokens"])]
    return _save(folder, nodes, inputs, weights, TensorSpec("input_ids", "INT64", (-1,)))


def _head(name: str, matrix: str) -> list[onnx.NodeProto]:
    """Multiply, and divide by the vector's length."""
    return [
        helper.make_node("MatMul", [name, matrix], ["product"], "dense"),
        helper.make_node("ReduceL2", ["product", "last"], ["length"], "length", keepdims=1),
        helper.make_node("Clip", ["length", "least"], ["safe"], "clip"),
        helper.make_node("Div", ["product", "safe"], ["vector"], "divide"),
    ]


def _save(
    folder: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    weights: dict[str, npt.NDArray[np.float64] | npt.NDArray[np.int64]],
    spec: TensorSpec,
) -> Graph:
    """Write a graph of float32 weights, and check it."""
    weights["last"] = np.array([1], dtype=np.int64)
    constants = [
        numpy_helper.from_array(array.astype(np.float32) if array.dtype == np.float64 else array, name)
        for name, array in weights.items()
    ]
    output = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["rows", WIDTH])
    graph = helper.make_graph(nodes, "small", inputs, [output], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=8)
    folder.mkdir(parents=True)
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return Graph(path, (spec,), "vector", WIDTH, _OPSET)
