"""The few ways in which the repository's files are touched: what a reader sees arrives whole, by a rename."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import RepositoryError


def versions_on_disk(model_folder: Path) -> list[int]:
    """
    List a model's version folders.

    Args:
        model_folder: The model's folder; need not exist.

    Returns:
        The versions, ascending; Triton ignores other names, and so does this.
    """
    if not model_folder.is_dir():
        return []
    names = [path.name for path in model_folder.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal() and not name.startswith("0"))


def replace_file(path: Path, text: str) -> None:
    """
    Write a file beside the old one and rename it over it.

    Args:
        path: The file; its folder exists.

        text: The new content.
    """
    new = path.with_name(f".{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    fsync(path.parent)


def try_lock(descriptor: int) -> bool:
    """
    Take an exclusive lock without waiting; the system frees it when the process dies.

    Args:
        descriptor: An open file.

    Returns:
        False if another process has it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def fsync_tree(folder: Path) -> None:
    """
    Force a folder's files and folders to the disk.

    Args:
        folder: The folder.
    """
    for path in folder.rglob("*"):
        fsync(path)
    fsync(folder)


def fsync(path: Path) -> None:
    """
    Force one file or folder to the disk.

    Args:
        path: The file or folder.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def as_repository_error(repository: Path) -> Iterator[None]:
    """
    Turn the system's errors into a sentence about the repository.

    Args:
        repository: What the sentence names.

    Yields:
        Nothing.

    Raises:
        RepositoryError: For any `OSError` within.
    """
    try:
        yield
    except OSError as error:
        raise RepositoryError(
            f"{repository} can't be written: {error.strerror or error}. Check its permissions and free space."
        ) from error
