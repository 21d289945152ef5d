"""fp16 and bf16 graphs for GPUs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from export import half_precision
from export.artifacts import Graph
from export.errors import ConversionFailed
from tests.export.small_graphs import make_image_graph, make_text_graph
from tests.export.test_quantize import run

MAKERS = [make_image_graph, make_text_graph]


def signature(path: Path) -> list[tuple[str, int]]:
    """List a graph's inputs and outputs with their types."""
    graph = onnx.load(str(path)).graph
    return [(value.name, value.type.tensor_type.elem_type) for value in (*graph.input, *graph.output)]


@pytest.mark.parametrize("make", MAKERS)
def test_an_fp16_graph_answers_alike(make: Callable[[Path], Graph], tmp_path: Path) -> None:
    """Weights are half, inputs and outputs as before, the file is valid, and vectors keep direction and length."""
    raw = make(tmp_path / "raw")
    path = tmp_path / "fp16.onnx"
    half_precision.to_fp16(raw.path, path)
    onnx.checker.check_model(str(path), full_check=True)
    assert signature(path) == signature(raw.path)
    half = {tensor.name: tensor.data_type for tensor in onnx.load(str(path)).graph.initializer}
    assert half["matrix"] == TensorProto.FLOAT16
    vectors, expected = run(path), run(raw.path)
    assert ((vectors * expected).sum(axis=1)).min() > 0.9999
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-6


def test_sums_and_norms_stay_in_fp32(tmp_path: Path) -> None:
    """What overflows or loses too much in half is fed float32, the division by the length included."""
    raw = make_image_graph(tmp_path / "raw")
    path = tmp_path / "fp16.onnx"
    half_precision.to_fp16(raw.path, path)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True)
    types = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    kept = [n for n in model.graph.node if n.op_type in {"LayerNormalization", "ReduceL2", "Clip", "Div"}]
    assert len(kept) == 4
    assert all(types.get(node.output[0], TensorProto.FLOAT) == TensorProto.FLOAT for node in kept)
    dense = next(node for node in model.graph.node if node.op_type == "MatMul")
    assert types[dense.output[0]] == TensorProto.FLOAT16


def test_a_mask_value_stays_finite(tmp_path: Path) -> None:
    """The lowest float32, with which masks are written, becomes the lowest half and not minus infinity."""
    raw = make_text_graph(tmp_path / "raw")
    model = onnx.load(str(raw.path))
    lowest = np.full((32, raw.width), np.finfo(np.float32).min, dtype=np.float32)
    next(t for t in model.graph.initializer if t.name == "matrix").CopyFrom(
        numpy_helper.from_array(lowest, "matrix")
    )
    onnx.save(model, str(raw.path))
    half_precision.to_fp16(raw.path, tmp_path / "fp16.onnx")
    half = {
        t.name: numpy_helper.to_array(t) for t in onnx.load(str(tmp_path / "fp16.onnx")).graph.initializer
    }
    assert np.isfinite(half["matrix"]).all()


@pytest.mark.parametrize("make", MAKERS)
def test_a_bf16_graph_is_valid_and_its_twin_runs_here(make: Callable[[Path], Graph], tmp_path: Path) -> None:
    """The graph for the GPU multiplies in bf16; the twin has the same rounded values in fp32, and answers alike."""
    raw = make(tmp_path / "raw")
    path, twin = tmp_path / "bf16.onnx", tmp_path / "twin.onnx"
    half_precision.to_bf16(raw.path, path)
    half_precision.to_bf16(raw.path, twin, is_emulated=True)
    onnx.checker.check_model(str(path), full_check=True)
    assert signature(path) == signature(raw.path) == signature(twin)
    constants = {t.name: t for t in onnx.load(str(path)).graph.initializer}
    assert constants["matrix_bf16"].data_type == TensorProto.BFLOAT16
    assert "matrix" not in constants
    rounded = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(twin)).graph.initializer}
    assert np.array_equal(
        rounded["matrix_bf16"], numpy_helper.to_array(constants["matrix_bf16"]).astype(np.float32)
    )
    vectors, expected = run(twin), run(raw.path)
    assert 0.999 < ((vectors * expected).sum(axis=1)).min() < 1
    assert not np.array_equal(vectors, expected)


def test_a_cpu_cannot_run_bf16_itself(tmp_path: Path) -> None:
    """This is why there is a twin: onnxruntime has no such kernel on a CPU."""
    raw = make_text_graph(tmp_path / "raw")
    half_precision.to_bf16(raw.path, tmp_path / "bf16.onnx")
    with pytest.raises(Exception, match=r"NOT_IMPLEMENTED|Could not find an implementation"):
        onnxruntime.InferenceSession(str(tmp_path / "bf16.onnx"), providers=["CPUExecutionProvider"])


def test_large_weights_go_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What protobuf can't hold in one file is written as two that lie together."""
    raw = make_text_graph(tmp_path / "raw")
    monkeypatch.setattr(half_precision, "LARGEST_FILE_BYTES", 100)
    (tmp_path / "fp16").mkdir()
    half_precision.to_fp16(raw.path, tmp_path / "fp16" / "model.onnx")
    assert sorted(path.name for path in (tmp_path / "fp16").iterdir()) == ["model.onnx", "model.onnx_data"]
    assert run(tmp_path / "fp16" / "model.onnx").shape == (4, raw.width)


def test_a_converters_failure_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the converter can't take is told with its reason and with what to use instead."""
    raw = make_text_graph(tmp_path / "raw")

    def fail(*_: object, **__: object) -> None:
        raise ValueError("no such operator")

    monkeypatch.setattr(half_precision.float16, "convert_float_to_float16", fail)
    with pytest.raises(ConversionFailed, match=r"no such operator\. Use --precision fp32"):
        half_precision.to_fp16(raw.path, tmp_path / "fp16.onnx")
