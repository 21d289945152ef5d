"""The graph: one output, its real dimension, nothing beside it."""

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from export import to_onnx
from export.artifacts import Graph, SourceModel
from export.errors import ConversionFailed, ModelUnreadable
from tests.export.tiny_model import HIDDEN_SIZE


def test_only_the_pooled_output_is_left(converted: Graph) -> None:
    """Token embeddings are cut off, and the output's dimension stands in the graph."""
    model = onnx.load(str(converted.path))
    assert [output.name for output in model.graph.output] == ["sentence_embedding"]
    assert model.graph.output[0].type.tensor_type.shape.dim[1].dim_value == HIDDEN_SIZE
    assert converted.width == HIDDEN_SIZE
    assert {graph_input.name for graph_input in model.graph.input} == set(converted.input_names)


def test_nothing_else_is_written(converted: Graph) -> None:
    """The exporter's re-written tokenizer isn't left beside the graph, where it could be taken for the source's."""
    assert [path.name for path in converted.path.parent.iterdir()] == ["model.onnx"]


def test_a_damaged_model_is_unreadable(source: SourceModel, tmp_path: Path) -> None:
    """Broken weights are told as such, before any conversion."""
    folder = shutil.copytree(source.folder, tmp_path / "copy")
    (folder / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ModelUnreadable):
        to_onnx.convert_embedder(replace(source, folder=folder), tmp_path / "graph")


def test_an_exporter_that_fails_is_told_in_one_sentence(
    source: SourceModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the exporter raises ends as a failed conversion with its first line."""

    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Trying to export a foo model.\nLong story.")

    monkeypatch.setattr(to_onnx, "onnx_export_from_model", refuse)
    with pytest.raises(ConversionFailed, match=r"Trying to export a foo model\. Try a model"):
        to_onnx.convert_embedder(source, tmp_path / "graph")
