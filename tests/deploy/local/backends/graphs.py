"""Tiny ONNX graphs that show what a backend does to its tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
from onnx import TensorProto, helper

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ["red", "green", "blue"]


def save_lookup(path: Path) -> None:
    """
    Save a graph that looks numbers up, and fails for those out of range.

    Input ``index`` INT64 (batch, length); outputs ``value`` FP32 (batch, length), ten times the index, and
    ``name`` STRING (batch, length). Both know three entries.
    """
    values = helper.make_tensor("values", TensorProto.FLOAT, [3], [0.0, 10.0, 20.0])
    names = helper.make_tensor("names", TensorProto.STRING, [3], [name.encode() for name in NAMES])
    nodes = [
        helper.make_node("Gather", ["values", "index"], ["value"]),
        helper.make_node("Gather", ["names", "index"], ["name"]),
    ]
    _save(
        path,
        nodes,
        [("index", TensorProto.INT64, ["batch", "length"])],
        [
            ("value", TensorProto.FLOAT, ["batch", "length"]),
            ("name", TensorProto.STRING, ["batch", "length"]),
        ],
        [values, names],
    )


def save_echo(path: Path, datatype: int, shape: list[Any]) -> None:
    """Save a graph that returns its input ``in`` as ``out``."""
    nodes = [helper.make_node("Identity", ["in"], ["out"])]
    _save(path, nodes, [("in", datatype, shape)], [("out", datatype, shape)], [])


def save_distinct(path: Path) -> None:
    """Save a graph whose output has fewer rows than its input ``in`` FP32 (batch, 2): ``out``, without repeats."""
    nodes = [helper.make_node("Unique", ["in"], ["out"], axis=0)]
    shape = ["batch", 2]
    _save(path, nodes, [("in", TensorProto.FLOAT, shape)], [("out", TensorProto.FLOAT, ["rows", 2])], [])


def _save(
    path: Path,
    nodes: list[Any],
    inputs: list[tuple[str, int, list[Any]]],
    outputs: list[tuple[str, int, list[Any]]],
    constants: list[Any],
) -> None:
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*spec) for spec in inputs],
        [helper.make_tensor_value_info(*spec) for spec in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
