"""The real thing, started once for the run: the real model, exported; a real Triton; the façade in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from tests.stack import (
    KEY,
    MODEL_NAME,
    Facade,
    export_model,
    export_tiny_chat,
    find_model_folder,
    start_facade,
    wait_ready,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sentence_transformers import SentenceTransformer

__all__ = ["KEY", "Facade", "start_facade", "wait_ready"]


@pytest.fixture(name="model_folder", scope="session")
def _model_folder() -> Path:
    """The folder of all-MiniLM-L6-v2, from its package."""
    return find_model_folder()


@pytest.fixture(name="original", scope="session")
def _original(model_folder: Path) -> SentenceTransformer:
    """The original model in PyTorch."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # seconds of imports

    return SentenceTransformer(str(model_folder), device="cpu")


@pytest.fixture(name="repository", scope="session")
def _repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the exported models, made by the command that users run."""
    repository = tmp_path_factory.mktemp("repository")
    export_model(repository)
    export_tiny_chat(repository)
    return repository


@pytest.fixture(name="triton", scope="session")
def _triton(repository: Path) -> Iterator[TritonServer]:
    """A real Triton that serves it."""
    install_triton(Places(CHECKOUT), print)
    with TritonServer(repository) as triton:
        yield triton


@pytest.fixture(name="facade", scope="session")
def _facade(triton: TritonServer) -> Iterator[Facade]:
    """A façade in front of it."""
    # As `make serve` has it: of two models, one answers whoever names none.
    with start_facade(triton.grpc_url, FACADE_DEFAULT_MODEL=MODEL_NAME) as facade:
        yield facade
