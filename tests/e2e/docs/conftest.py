"""The stack that pages call: the exported models of the run, in a repository of its own that pages may add to."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from deploy.local.install import Places, install_triton
from deploy.local.triton import TritonServer
from tests.e2e.docs.pages import CHECKOUT
from tests.e2e.docs.running import Terminal, make_scratch_checkout
from tests.stack import KEY, MODEL_NAME, start_facade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.stack import Facade


@pytest.fixture(name="served", scope="package")
def _served(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository as `make serve` leaves it, which pages may add to."""
    return shutil.copytree(repository, tmp_path_factory.mktemp("served") / "model_repository")


@pytest.fixture(name="triton", scope="package")
def _triton(served: Path) -> Iterator[TritonServer]:
    """A Triton that serves it."""
    install_triton(Places(CHECKOUT), print)
    with TritonServer(served) as triton:
        yield triton


@pytest.fixture(name="facade", scope="package")
def _facade(triton: TritonServer) -> Iterator[Facade]:
    """A façade with the settings of `make serve`."""
    with start_facade(
        triton.grpc_url, FACADE_DEFAULT_MODEL=MODEL_NAME, FACADE_ENVIRONMENT="development"
    ) as facade:
        yield facade


@pytest.fixture(name="terminal")
def _terminal(served: Path, triton: TritonServer, facade: Facade, tmp_path: Path) -> Iterator[Terminal]:
    """A reader's terminal in a checkout of its own, with the key that `make serve` printed."""
    checkout, state = tmp_path / "checkout", tmp_path / "state"
    checkout.mkdir()
    state.mkdir()
    make_scratch_checkout(checkout, served)
    ports = {
        8080: int(facade.url.rpartition(":")[2]),
        8000: triton.http_port,
        8001: triton.grpc_port,
        8002: triton.metrics_port,
    }
    with Terminal(checkout, state, ports, {"API_KEY": KEY}) as terminal:
        yield terminal
