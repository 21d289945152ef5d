"""
The tasks: what differs between exporting an embedder, a classifier, a reranker and a generator.

Each module has the functions of `base.Task`, and only the pipeline's order of steps stands above them.

    base               what a task's module has to offer
    text_encoder       what the tasks behind the text door share
    embedding          text in, vector out
    text_classification, reranking    text in, or a query and a document; scores out
    text_generation    a prompt in, tokens out
    image_classification   an image's file in, labels' scores out

To add a task: write its module, add it to `load_task`, to `runtime.RUNTIME_BY_TASK` and to `options.TASKS`.
"""

from export.errors import BadInput
from export.options import ExportOptions
from export.tasks.base import Task


def load_task(name: str, options: ExportOptions) -> Task:
    """
    Import a task's module; it brings torch, which takes seconds.

    Args:
        name: The task's name in the tensor contract.

        options: What was asked for; a generator's steps depend on it.

    Returns:
        The module, or an object with the same functions.

    Raises:
        BadInput: If there is no such task.
    """
    # Imported one by one and not by name, so that mypy compares each module with the protocol.
    if name == "embedding":
        from export.tasks import embedding  # noqa: PLC0415

        return embedding
    if name == "text-classification":
        from export.tasks import text_classification  # noqa: PLC0415

        return text_classification
    if name == "reranking":
        from export.tasks import reranking  # noqa: PLC0415

        return reranking
    if name == "image-classification":
        from export.tasks import image_classification  # noqa: PLC0415

        return image_classification
    if name == "text-generation":
        from export.tasks import text_generation  # noqa: PLC0415

        kinds = {text_generation.VLLM: text_generation.VllmGeneration}
        return kinds.get(options.engine, text_generation.TextGeneration)(options)
    raise BadInput(f"There is no task '{name}'.")
