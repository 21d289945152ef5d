"""int8 graphs for CPUs."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from export.artifacts import Graph
from export.errors import ConversionFailed
from export.quantize import to_int8, weighted_nodes
from tests.export.small_graphs import PIXELS, make_image_graph, make_text_graph

FEEDS = {
    "pixel_values": np.random.default_rng(3).normal(size=(4, 3, PIXELS, PIXELS)).astype(np.float32),
    "input_ids": np.random.default_rng(3).integers(0, 50, size=(4, 9)),
}


def run(path: Path) -> np.ndarray:
    """Run a graph on the input that it has."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {spec.name: FEEDS[spec.name] for spec in session.get_inputs()})[0]


@pytest.mark.parametrize("make", [make_image_graph, make_text_graph])
def test_an_int8_graph_answers_alike(make: Callable[[Path], Graph], tmp_path: Path) -> None:
    """Matrices become bytes, whatever the input is, and every vector keeps its direction and length."""
    raw = make(tmp_path / "raw")
    to_int8(raw.path, tmp_path / "int8.onnx")
    kinds = {node.op_type for node in onnx.load(str(tmp_path / "int8.onnx")).graph.node}
    assert {"MatMulInteger", "DynamicQuantizeLinear"} <= kinds
    cosines = (run(tmp_path / "int8.onnx") * run(raw.path)).sum(axis=1)
    assert cosines.min() > 0.99


def test_weights_keep_a_scale_for_each_column_in_seven_bits(tmp_path: Path) -> None:
    """One scale a column keeps small columns exact; seven bits can't overflow the kernel without VNNI."""
    raw = make_text_graph(tmp_path / "raw")
    to_int8(raw.path, tmp_path / "int8.onnx")
    constants = {
        tensor.name: onnx.numpy_helper.to_array(tensor)
        for tensor in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer
    }
    assert constants["matrix_scale"].shape == (raw.width,)
    assert constants["matrix_quantized"].dtype == np.int8
    assert np.abs(constants["matrix_quantized"].astype(int)).max() <= 64


def test_tables_are_quantised_too(tmp_path: Path) -> None:
    """An embedding table, most of a small model's size, is a fourth of it afterwards."""
    raw = make_text_graph(tmp_path / "raw")
    to_int8(raw.path, tmp_path / "int8.onnx")
    names = {tensor.name for tensor in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer}
    assert "table_quantized" in names
    assert "table" not in names


def test_a_graph_without_matrices_is_refused(tmp_path: Path) -> None:
    """Where int8 would change nothing, the command says so instead of publishing the same model twice."""
    node = helper.make_node("Relu", ["x"], ["y"], "relu")
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    model = helper.make_model(
        helper.make_graph([node], "plain", value[:1], value[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.save(model, str(tmp_path / "plain.onnx"))
    assert weighted_nodes(model) == []
    with pytest.raises(ConversionFailed, match="int8 would change nothing"):
        to_int8(tmp_path / "plain.onnx", tmp_path / "int8.onnx")


def test_the_root_logger_is_as_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The quantiser's advice isn't printed, and logging works afterwards."""
    raw = make_text_graph(tmp_path / "raw")
    with caplog.at_level(logging.WARNING):
        to_int8(raw.path, tmp_path / "int8.onnx")
        assert caplog.records == []
        logging.getLogger().warning("heard")
    assert [record.message for record in caplog.records] == ["heard"]
