"""The gate: equal models pass, each kind of wrong one is stopped and its worst text named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from export import from_hub, profiles, to_onnx, to_triton
from export.artifacts import Draft, SourceModel
from export.errors import ParityFailed
from export.options import ExportOptions
from export.parity_embedding import compare_embeddings, measure
from tests.export.tiny_model import MAX_TOKENS, make_tiny_model


def edit_json_file(path: Path, **changes: Any) -> None:
    """Change values of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_door(draft: Draft, **changes: Any) -> None:
    """Change settings of an assembled door."""
    edit_json_file(draft.door_folder / "door.json", **changes)


def edit_graph(draft: Draft, edit: Callable[[onnx.ModelProto], None]) -> None:
    """Change an assembled core's graph."""
    path = draft.core_folder / "model.onnx"
    model = onnx.load(str(path))
    edit(model)
    onnx.save(model, str(path))


def scale_output(factor: float) -> Callable[[onnx.ModelProto], None]:
    """Make an edit that multiplies every vector."""

    def edit(model: onnx.ModelProto) -> None:
        last = next(node for node in model.graph.node if "sentence_embedding" in node.output)
        last.output[list(last.output).index("sentence_embedding")] = "unscaled"
        model.graph.initializer.append(numpy_helper.from_array(np.array(factor, dtype=np.float32), "factor"))
        model.graph.node.append(helper.make_node("Mul", ["unscaled", "factor"], ["sentence_embedding"]))

    return edit


def spoil_weights(model: onnx.ModelProto) -> None:
    """Halve one layer's weights."""
    weights = max(model.graph.initializer, key=lambda tensor: np.prod(tensor.dims))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) ** 3, weights.name))


def test_an_equal_model_passes(source: SourceModel, draft: Draft) -> None:
    """The figures of a right export are far inside the tolerance, over batches of several sizes and lengths."""
    report = compare_embeddings(source, draft, "fp32")
    assert report.figures["min_cosine"] > 0.999999
    assert report.figures["max_norm_difference"] < 1e-5
    assert {point.batch_size for point in report.points} >= {1, 2, 8, 32}
    assert max(point.max_tokens for point in report.points) > MAX_TOKENS


def test_a_model_without_normalisation_passes(tmp_path: Path) -> None:
    """Vectors of other lengths than 1 are compared in direction and length."""
    folder = make_tiny_model(tmp_path / "model", is_normalized=False)
    options = ExportOptions(model=str(folder), name="raw", repository=tmp_path)
    found = from_hub.find_model(options)
    graph = to_onnx.convert_embedder(found, tmp_path / "graph")
    (tmp_path / "staging").mkdir()
    raw = to_triton.assemble(options, found, graph, profiles.cpu_profile(2), tmp_path / "staging")
    assert compare_embeddings(found, raw, "fp32").figures["max_norm_difference"] < 1e-5


def test_wrong_weights_are_stopped(source: SourceModel, draft: Draft) -> None:
    """A graph with other weights fails, and the message quotes a text and its batch."""
    edit_graph(draft, spoil_weights)
    with pytest.raises(
        ParityFailed, match=r"lowest cosine .* at least 0.9999. The worst input is '.*batch '"
    ):
        compare_embeddings(source, draft, "fp32")


def test_a_scaled_vector_is_stopped(source: SourceModel, draft: Draft) -> None:
    """Vectors of the right direction and the wrong length fail: a cosine alone wouldn't see it."""
    edit_graph(draft, scale_output(1.01))
    with pytest.raises(ParityFailed, match="difference of the two vectors' lengths"):
        compare_embeddings(source, draft, "fp32")


def test_values_that_are_not_finite_are_stopped(source: SourceModel, draft: Draft) -> None:
    """A graph that overflows fails before any cosine is taken."""
    edit_graph(draft, scale_output(float("inf")))
    with pytest.raises(ParityFailed, match="not finite"):
        compare_embeddings(source, draft, "fp32")


def test_a_wrong_limit_is_stopped(source: SourceModel, draft: Draft) -> None:
    """A door that truncates elsewhere than the original fails on the over-long texts."""
    edit_door(draft, max_input_tokens=MAX_TOKENS - 8)
    with pytest.raises(ParityFailed, match="lowest cosine"):
        compare_embeddings(source, draft, "fp32")
    with pytest.raises(ParityFailed, match="truncates at"):
        compare_embeddings(replace(source, max_input_tokens=9), draft, "fp32")


def test_a_graph_that_fails_is_told(source: SourceModel, draft: Draft) -> None:
    """A limit beyond what the model's positions can take ends in a sentence that quotes the input and its length."""
    edit_door(draft, max_input_tokens=10 * MAX_TOKENS)
    with pytest.raises(ParityFailed, match=r"The graph fails on '.*' \(\d+ tokens\): .* model_max_length"):
        compare_embeddings(source, draft, "fp32")


def test_another_tokenizer_is_stopped(source: SourceModel, draft: Draft) -> None:
    """A tokenizer file that cuts texts differently fails on the token count."""
    path = draft.door_folder / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    tokenizer["normalizer"]["lowercase"] = False
    tokenizer["pre_tokenizer"] = {"type": "WhitespaceSplit"}
    path.write_text(json.dumps(tokenizer))
    with pytest.raises(ParityFailed, match="tokens"):
        compare_embeddings(source, draft, "fp32")


def test_another_output_is_stopped(source: SourceModel, draft: Draft) -> None:
    """Names are compared first: a graph with a second output isn't what the door reads."""
    edit_graph(
        draft, lambda model: model.graph.output.append(helper.make_tensor_value_info("input_ids", 7, None))
    )
    with pytest.raises(ParityFailed, match="outputs are"):
        compare_embeddings(source, draft, "fp32")


def test_a_wrong_dimension_is_stopped(source: SourceModel, draft: Draft) -> None:
    """Vectors of another length than the door says are nobody's answer."""
    edit_door(draft, width=31)
    with pytest.raises(ParityFailed, match="doesn't fit the door"):
        compare_embeddings(source, draft, "fp32")


def test_any_grouping_gives_the_same_vectors(draft: Draft, source: SourceModel, tmp_path: Path) -> None:
    """Fixed edges, as a GPU's door has, pass the same gate."""
    copy = Draft(shutil.copytree(draft.door_folder, tmp_path / "edges"), draft.core_folder, draft.graph)
    edit_door(copy, grouping={"kind": "edges", "edges": [8, 16, MAX_TOKENS]})
    assert compare_embeddings(source, copy, "fp32").figures["min_cosine"] > 0.9999


def test_measure_knows_zero_vectors() -> None:
    """A zero vector equals a zero vector and nothing else; opposite vectors are at -1."""
    cosines, norms = measure(
        np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]),
        np.array([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]),
    )
    assert cosines.tolist() == [1, 0, -1, 1]
    assert norms.tolist() == [0, 1, 0, 0.5]
