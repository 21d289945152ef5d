"""
The code that ships into the repository and runs inside Triton: a folder for each kind of door.

A door's folder is copied into each version, so a published version never changes with the checkout.
"""

import hashlib
from pathlib import Path

RUNTIME_BY_TASK = {
    "embedding": "text_encoder",
    "text-classification": "text_encoder",
    "reranking": "text_encoder",
    "image-classification": "image_encoder",
    "text-generation": "decoder",
}
"""Which folder is the door of a task."""


def runtime_files(task: str) -> list[Path]:
    """
    List the code of a task's door.

    Args:
        task: The task's name.

    Returns:
        Its Python files, but for the `__init__.py` that only this checkout needs, in order of their names.
    """
    folder = Path(__file__).parent / RUNTIME_BY_TASK[task]
    return sorted(path for path in folder.glob("*.py") if path.name != "__init__.py")


def runtime_fingerprint(task: str) -> str:
    """
    Hash the code of a task's door, so that a newer door counts as a different recipe.

    Args:
        task: The task's name.

    Returns:
        SHA-256, as 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for path in runtime_files(task):
        digest.update(path.read_bytes())
    return digest.hexdigest()
