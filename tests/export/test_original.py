"""Loading the reference."""

import logging
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.artifacts import SourceModel
from export.errors import ModelUnreadable
from export.original import load_original, quiet
from tests.export.tiny_model import HIDDEN_SIZE


def test_the_original_encodes(source: SourceModel) -> None:
    """The reference gives one finite vector a text, of length 1 as its last module says."""
    vectors = load_original(source).encode(["the cat", ""])
    assert vectors.shape == (2, HIDDEN_SIZE)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-6)


def test_damaged_weights_are_told(source: SourceModel, tmp_path: Path) -> None:
    """A truncated weight file is an unreadable model with advice, not a traceback of the library."""
    folder = shutil.copytree(source.folder, tmp_path / "copy")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelUnreadable, match="can't be loaded"):
        load_original(replace(source, folder=folder))


def test_quiet_ends() -> None:
    """Warnings and notices are silenced for the libraries' own work only."""
    level = logging.getLogger("transformers").level
    with quiet():
        warnings.warn("unheard", UserWarning, stacklevel=1)
        assert not logging.getLogger("transformers").isEnabledFor(logging.WARNING)
    assert logging.getLogger("transformers").level == level
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)
