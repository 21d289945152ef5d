"""From an image classifier to an ONNX graph that gives finished scores: the activation is in the graph."""

from pathlib import Path
from typing import Any

import onnx

from export.artifacts import Graph, SourceModel, TensorSpec
from export.original_image import load_image_original, read_preprocessing
from export.to_onnx import (
    LOGITS_OUTPUT,
    append_activation,
    as_conversion_error,
    keep_output,
    opset_of,
    trace,
)

PIXELS_INPUT = "pixel_values"
SCORES_OUTPUT = "scores"


def convert_image_classifier(source: SourceModel, folder: Path) -> Graph:
    """
    Convert a model of transformers' ForImageClassification classes.

    Args:
        source: The model's files.

        folder: Where the graph goes; holds nothing else afterwards.

    Returns:
        The graph: float32 pixels of shape (batch, 3, height, width) in, scores of shape (batch, labels) out.

    Raises:
        ModelUnreadable: If the original can't be loaded, or its image processor can't be repeated.

        ConversionFailed: If optimum can't trace it.
    """
    model, processor = load_image_original(source)
    shape = read_preprocessing(source, processor).shape
    with as_conversion_error(source):
        path = trace(model, folder, "image-classification")
        return _finish_graph(path, shape, model.config)


def _finish_graph(path: Path, shape: tuple[int, int, int], config: Any) -> Graph:
    """Append the activation, write the real sizes into the graph, and check the file."""
    model = onnx.load(str(path), load_external_data=False)
    keep_output(model, LOGITS_OUTPUT)
    is_multi_label = config.problem_type == "multi_label_classification"
    append_activation(model, "Sigmoid" if is_multi_label else "Softmax", SCORES_OUTPUT)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = config.num_labels
    # The processor fixes the size: a graph that says so can be planned once.
    for dim, length in zip(model.graph.input[0].type.tensor_type.shape.dim[1:], shape, strict=True):
        dim.dim_value = length
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return Graph(
        path=path,
        inputs=(TensorSpec(PIXELS_INPUT, "FP32", shape),),
        output_name=SCORES_OUTPUT,
        width=int(config.num_labels),
        opset=opset_of(model),
    )
