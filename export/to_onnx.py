"""
From the original to an ONNX graph with the one output that the door needs.

optimum traces the whole model. What comes after the traced part (a classifier's activation, a shortened vector) is
appended to the graph, so that answers leave the core finished. Other outputs, as the embedding of every token, are
cut off: they would be copied for nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from optimum.exporters.onnx import onnx_export_from_model
from transformers import PreTrainedModel

from export.artifacts import Activation, Graph, SourceModel, TensorSpec
from export.errors import ConversionFailed
from export.original import load_original, quiet

SENTENCE_OUTPUT = "sentence_embedding"
"""Name that optimum gives the pooled output."""

SHORTENED_OUTPUT = "shortened_embedding"
"""Name of the output that keeps the leading components of *SENTENCE_OUTPUT*."""

LOGITS_OUTPUT = "logits"
"""Name that optimum gives a classifier's output."""


def convert_embedder(source: SourceModel, folder: Path) -> Graph:
    """
    Convert a sentence-transformers model, pooling and normalisation included.

    Args:
        source: The model's files.

        folder: Where the graph goes; holds nothing else afterwards.

    Returns:
        The graph, checked by ONNX and run once.

    Raises:
        ModelUnreadable: If the original can't be loaded.

        ConversionFailed: If optimum can't trace it, or the graph doesn't run.
    """
    original = load_original(source)
    with as_conversion_error(source):
        path = trace(original, folder, "feature-extraction")
        model = onnx.load(str(path), load_external_data=False)
        keep_output(model, SENTENCE_OUTPUT)
        output = SENTENCE_OUTPUT
        if original.truncate_dim is not None:
            output = SHORTENED_OUTPUT
            for name, place in (("starts", 0), ("ends", original.truncate_dim), ("axes", 1)):
                model.graph.initializer.append(
                    numpy_helper.from_array(np.array([place]), f"shortened_{name}")
                )
            bounds = ["shortened_starts", "shortened_ends", "shortened_axes"]
            _append(model, helper.make_node("Slice", [SENTENCE_OUTPUT, *bounds], [output]))
        return _finish_graph(model, path, output)


def convert_classifier(
    source: SourceModel, model: PreTrainedModel, folder: Path, output: str, activation: Activation
) -> Graph:
    """
    Convert a sequence classifier, its activation included.

    Args:
        source: The model's files, for messages.

        model: The original.

        folder: Where the graph goes; holds nothing else afterwards.

        output: What the scores are called.

        activation: What makes scores of the logits.

    Returns:
        The graph, checked by ONNX and run once.

    Raises:
        ConversionFailed: If optimum can't trace it, or the graph doesn't run.
    """
    with as_conversion_error(source):
        path = trace(model, folder, "text-classification")
        graph = onnx.load(str(path), load_external_data=False)
        keep_output(graph, LOGITS_OUTPUT)
        append_activation(graph, activation, output)
        return _finish_graph(graph, path, output)


@contextmanager
def as_conversion_error(source: SourceModel) -> Iterator[None]:
    """Turn whatever the exporter raises into one sentence, but for a full disk: that is the repository's trouble."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConversionFailed(
            f"'{source.model_id}' can't be converted to ONNX: {reason[0].rstrip('.')}. "
            "Try a model whose architecture optimum-onnx lists."
        ) from error


def trace(model: Any, folder: Path, task: str) -> Path:
    """Let optimum write the graph, and nothing else."""
    with quiet():
        # Validation is off because optimum's own compares one input and only warns; parity does it properly.
        onnx_export_from_model(model, folder, task=task, do_validation=False)
    path = folder / "model.onnx"
    for extra in folder.iterdir():
        if not extra.name.startswith(path.name):  # optimum's re-written tokenizer files aren't the source's
            extra.unlink()
    return path


def keep_output(model: onnx.ModelProto, name: str) -> None:
    """Cut off every output but one."""
    for output in [output for output in model.graph.output if output.name != name]:
        model.graph.output.remove(output)


def _append(model: onnx.ModelProto, node: onnx.NodeProto) -> None:
    """Let the graph's one output go through one more node."""
    model.graph.node.append(node)
    model.graph.output[0].name = node.output[0]


def append_activation(model: onnx.ModelProto, activation: Activation, output: str) -> None:
    """
    Let a classifier's logits become scores in the graph.

    Args:
        model: The graph; its one output is *LOGITS_OUTPUT*.

        activation: What makes scores of the logits.

        output: What the scores are called.
    """
    node = helper.make_node(activation, [LOGITS_OUTPUT], [output])
    if activation == "Softmax":
        node.attribute.append(helper.make_attribute("axis", 1))
    _append(model, node)


def opset_of(model: onnx.ModelProto) -> int:
    """Read the version of ONNX's own operators that a graph uses."""
    return int(next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}))


def _finish_graph(model: onnx.ModelProto, path: Path, output: str) -> Graph:
    """Write the output's real width into the graph, and check the file."""
    onnx.save(model, str(path))
    input_names = [graph_input.name for graph_input in model.graph.input]
    width = _measure_width(path, input_names, output)
    # optimum leaves a made-up symbol there; the real number lets Triton check the config against the graph.
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = width
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return Graph(
        path=path,
        inputs=tuple(TensorSpec(name, "INT64", (-1,)) for name in input_names),
        output_name=output,
        width=width,
        opset=opset_of(model),
    )


def _measure_width(path: Path, input_names: list[str], output: str) -> int:
    """Run one row of two tokens and return the length of its answer."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ones = np.ones((1, 2), dtype=np.int64)
    (row,) = session.run([output], dict.fromkeys(input_names, ones))
    return int(row.shape[1])
