"""
The tasks: what differs between exporting an embedder, a classifier, a reranker and a generator.

Each module has the functions of `base.Task`, and only the pipeline's order of steps stands above them.

    base               what a task's module has to offer
    text_encoder       what the tasks behind the text door share
    embedding          text in, vector out

To add a task: write its module, add it to `load_task`, to `runtime.RUNTIME_BY_TASK` and to `options.BUILT_TASKS`.
"""

from export.errors import NotBuilt
from export.tasks.base import Task


def load_task(name: str) -> Task:
    """
    Import a task's module; it brings torch, which takes seconds.

    Args:
        name: The task's name in the tensor contract.

    Returns:
        The module.

    Raises:
        NotBuilt: If there is none.
    """
    # Imported one by one and not by name, so that mypy compares each module with the protocol.
    if name == "embedding":
        from export.tasks import embedding  # noqa: PLC0415

        return embedding
    raise NotBuilt(f"Task '{name}' has no steps in this version.")
