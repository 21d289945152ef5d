"""
The original model, as its authors meant it to be run: what the export has to equal.

Importing this module loads torch, which takes seconds; only the steps that need the original import it.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from sentence_transformers import SentenceTransformer

from export.artifacts import SourceModel
from export.errors import ModelUnreadable

_CHATTY_LOGGERS = ("transformers", "optimum", "sentence_transformers", "torch.onnx")


def load_original(source: SourceModel) -> SentenceTransformer:
    """
    Load a sentence-transformers model on the CPU, in fp32.

    Args:
        source: The model's files.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelUnreadable: If its files are damaged, or not a model that sentence-transformers knows.
    """
    with quiet(), as_unreadable(source):
        model = SentenceTransformer(
            str(source.folder),
            device="cpu",
            trust_remote_code=source.trust_remote_code,
            local_files_only=True,
        )
        return model.float().eval()


@contextmanager
def as_unreadable(source: SourceModel) -> Iterator[None]:
    """
    Turn whatever loading a model raises into one sentence about its files.

    Args:
        source: The model's files.

    Yields:
        Nothing; holds for the `with` statement.

    Raises:
        ModelUnreadable: If the work in it raised anything.
    """
    try:
        yield
    # Every layer below raises its own: OSError, ValueError, KeyError, RuntimeError, SafetensorError.
    except Exception as error:
        raise ModelUnreadable(
            f"'{source.model_id}' can't be loaded: {_first_line(error)}. Download it again, or check its files."
        ) from error


@contextmanager
def asking(source: SourceModel) -> Iterator[None]:
    """
    Ask the original quietly, and turn whatever it raises into one sentence: its parts don't fit each other.

    Args:
        source: The model's files.

    Yields:
        Nothing; holds for the `with` statement.

    Raises:
        ModelUnreadable: If the work in it raised anything.
    """
    try:
        with quiet():
            yield
    # Tokenizer and model raise what their own mismatch makes them: TypeError, IndexError, RuntimeError, KeyError.
    except Exception as error:
        raise ModelUnreadable(
            f"The original '{source.model_id}' fails by itself, so nothing can be compared with it: "
            f"{_first_line(error)}. Check that its tokenizer or image processor belongs to its weights."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """
    Keep the libraries' warnings and notices off the terminal: the pipeline tells what matters.

    Yields:
        Nothing; the quiet lasts for the `with` statement.
    """
    loggers = [logging.getLogger(name) for name in _CHATTY_LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _first_line(error: Exception) -> str:
    """Return the first line of an error's text, with its kind if it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
