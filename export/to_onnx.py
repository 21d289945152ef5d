"""
From the original to an ONNX graph with the one output that the door needs.

optimum traces the whole sentence-transformers model, pooling and normalisation included, so that the vectors leave
Triton finished. Its second output, the embedding of every token, is cut off: it would be copied for nothing.
"""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from optimum.exporters.onnx import onnx_export_from_model

from export.artifacts import Graph, SourceModel, TensorSpec
from export.errors import ConversionFailed
from export.original import load_original, quiet

SENTENCE_OUTPUT = "sentence_embedding"
"""Name that optimum gives the pooled output."""


def convert_embedder(source: SourceModel, folder: Path) -> Graph:
    """
    Convert a sentence-transformers model.

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
    try:
        with quiet():
            # Validation is off because optimum's own compares one input and only warns; parity does it properly.
            onnx_export_from_model(original, folder, task="feature-extraction", do_validation=False)
        path = folder / "model.onnx"
        for extra in folder.iterdir():
            if not extra.name.startswith(
                path.name
            ):  # optimum's re-written tokenizer files aren't the source's
                extra.unlink()
        return _finish_graph(path)
    except OSError:
        raise  # a full disk is the repository's trouble, not the model's
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise ConversionFailed(
            f"'{source.model_id}' can't be converted to ONNX: {reason[0].rstrip('.')}. "
            "Try a model whose architecture optimum-onnx lists."
        ) from error


def _finish_graph(path: Path) -> Graph:
    """Keep the pooled output only, write its real dimension into the graph, and check the file."""
    model = onnx.load(str(path), load_external_data=False)
    del_names = [output.name for output in model.graph.output if output.name != SENTENCE_OUTPUT]
    for output in [output for output in model.graph.output if output.name in del_names]:
        model.graph.output.remove(output)
    onnx.save(model, str(path))
    input_names = tuple(graph_input.name for graph_input in model.graph.input)
    dimension = _measure_dimension(path, input_names)
    # optimum leaves a made-up symbol there; the real number lets Triton check the config against the graph.
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = dimension
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path), full_check=True)
    return Graph(
        path=path,
        inputs=tuple(TensorSpec(name, "INT64", (-1,)) for name in input_names),
        output_name=SENTENCE_OUTPUT,
        width=dimension,
        opset=next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
    )


def _measure_dimension(path: Path, input_names: tuple[str, ...]) -> int:
    """Run one row of two tokens and return the length of its vector."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    ones = np.ones((1, 2), dtype=np.int64)
    (vector,) = session.run([SENTENCE_OUTPUT], dict.fromkeys(input_names, ones))
    return int(vector.shape[1])
