"""The real thing, started once for the run: the real model, exported; a real Triton; the façade in front."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from export.options import ExportOptions
from export.pipeline import run_export
from export.progress import Progress
from export.release_moves import start_canary
from tests.export.tiny_model import make_tiny_classifier
from tests.export.tiny_vit import make_tiny_vit
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

MOODS = {0: "sad", 1: "glad", 2: "<img src=x onerror=alert(1)> mad"}
"""What `mood` tells apart; one label would be markup where it isn't kept a text."""

CANARY_PERCENT = 25

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


@pytest.fixture(name="task_folders", scope="session")
def _task_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Models with random weights and real architectures for three more tasks, by the name they are exported under."""
    parent = tmp_path_factory.mktemp("originals")
    names = {"mood": {"id2label": MOODS}, "judge": {"num_labels": 1}}
    folders = {name: make_tiny_classifier(parent / name, **further) for name, further in names.items()}
    return folders | {"pets": make_tiny_vit(parent / "pets")}


@pytest.fixture(name="all_tasks_triton", scope="package")
def _all_tasks_triton(
    repository: Path, task_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TritonServer]:
    """A real Triton with a model for each task; version 2 of `mood`, the same again, is on trial."""
    models = tmp_path_factory.mktemp("all_tasks") / "models"
    shutil.copytree(repository, models, copy_function=os.link)
    for name, folder in task_folders.items():
        run_export(ExportOptions(str(folder), name, models), Progress(None))
    run_export(ExportOptions(str(task_folders["mood"]), "mood", models, candidate=True), Progress(None))
    start_canary(models, "mood", 2, CANARY_PERCENT)
    install_triton(Places(CHECKOUT), print)
    with TritonServer(models) as triton:
        yield triton
