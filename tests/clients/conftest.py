"""The stack that clients call: the façade, a real Triton, minilm, tiny-chat, and a small reranker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from export import pipeline
from export.options import ExportOptions
from export.progress import Progress
from tests.e2e.conftest import _facade, _triton
from tests.export.tiny_model import make_tiny_classifier
from tests.stack import export_model, export_tiny_chat

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["_facade", "_triton"]


@pytest.fixture(name="repository", scope="session")
def _repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with all three."""
    folder = tmp_path_factory.mktemp("clients")
    repository = folder / "repository"
    export_model(repository)
    export_tiny_chat(repository)
    make_tiny_classifier(folder / "reranker", num_labels=1)
    options = ExportOptions(model=str(folder / "reranker"), name="reranker", repository=repository)
    pipeline.run_export(options, Progress(None))
    return repository
