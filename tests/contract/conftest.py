"""A real Triton with a model of every kind that generates, and the façade's own parts in front of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

STANDIN = "vllm_standin"

MODELS = {STANDIN: "vllm:num_requests_running"}
"""Kinds of models, and each one's metric of the answers that it works on."""

SOURCES = Path(__file__).parent / STANDIN


@pytest.fixture(scope="session", autouse=True)
async def _one_loop(anyio_backend: str) -> AsyncIterator[None]:
    """Keep one loop for the whole run: gRPC's poller is one a process and doesn't like loops that close."""
    yield  # noqa: PT022  # a loop lives as long as an unfinished fixture


@pytest.fixture(name="triton", scope="session")
def _triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A real Triton that serves the stand-in."""
    install_triton(Places(CHECKOUT), print)
    repository = tmp_path_factory.mktemp("repository")
    write_standin(repository)
    with TritonServer(repository) as triton:
        yield triton


def write_standin(repository: Path) -> None:
    """
    Put the stand-in for the vLLM backend into a repository, without a model card: it is nobody's export.

    Args:
        repository: The model repository.
    """
    folder = repository / STANDIN / "1"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "engine.py", "model.py"):
        shutil.copyfile(SOURCES / name, folder / name)
    (folder.parent / "config.pbtxt").write_text('backend: "python"\n')
