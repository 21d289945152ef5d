"""From an image classifier to an ONNX graph that gives finished scores: the activation is in the graph."""

from pathlib import Path
from typing import Any

import onnx
from onnx import helper
from optimum.exporters.onnx import onnx_export_from_model

from export.artifacts import Graph, SourceModel, TensorSpec
from export.errors import ConversionFailed
from export.original import quiet
from export.original_image import load_image_original, read_preprocessing

PIXELS_INPUT = "pixel_values"
LOGITS_OUTPUT = "logits"
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
    try:
        with quiet():
            # Validation is off because optimum's own compares one input and only warns; parity does it properly.
            onnx_export_from_model(model, folder, task="image-classification", do_validation=False)
        path = folder / "model.onnx"
        for extra in folder.iterdir():
            if not extra.name.startswith(path.name):
                extra.unlink()
        return _finish_graph(path, shape, model.config)
    except OSError:
        raise  # a full disk is the repository's trouble, not the model's
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConversionFailed(
            f"'{source.model_id}' can't be converted to ONNX: {reason[0].rstrip('.')}. "
            "Try a model whose architecture optimum-onnx lists."
        ) from error


def _finish_graph(path: Path, shape: tuple[int, int, int], config: Any) -> Graph:
    """Append the activation, write the real sizes into the graph, and check the file."""
    model = onnx.load(str(path), load_external_data=False)
    for output in [output for output in model.graph.output if output.name != LOGITS_OUTPUT]:
        model.graph.output.remove(output)
    is_multi_label = config.problem_type == "multi_label_classification"
    activation = (
        helper.make_node("Sigmoid", [LOGITS_OUTPUT], [SCORES_OUTPUT])
        if is_multi_label
        else helper.make_node("Softmax", [LOGITS_OUTPUT], [SCORES_OUTPUT], axis=1)
    )
    model.graph.node.append(activation)
    model.graph.output[0].name = SCORES_OUTPUT
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
        opset=next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
    )
