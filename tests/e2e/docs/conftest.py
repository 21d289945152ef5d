"""The stack that pages call: the exported models of the run, in a checkout of its own that pages may change."""

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


@pytest.fixture(name="checkout", scope="package")
def _checkout(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout as `make serve` leaves it."""
    checkout = make_scratch_checkout(tmp_path_factory.mktemp("checkout"))
    shutil.copytree(repository, checkout / "model_repository", dirs_exist_ok=True)
    return checkout


@pytest.fixture(name="triton", scope="package")
def _triton(checkout: Path) -> Iterator[TritonServer]:
    """A Triton that serves its repository."""
    install_triton(Places(CHECKOUT), print)
    with TritonServer(checkout / "model_repository") as triton:
        yield triton


@pytest.fixture(name="facade", scope="package")
def _facade(triton: TritonServer) -> Iterator[Facade]:
    """A façade with the settings of `make serve`."""
    with start_facade(
        triton.grpc_url, FACADE_DEFAULT_MODEL=MODEL_NAME, FACADE_ENVIRONMENT="development"
    ) as facade:
        yield facade


@pytest.fixture(name="terminal")
def _terminal(checkout: Path, triton: TritonServer, facade: Facade, tmp_path: Path) -> Iterator[Terminal]:
    """A reader's terminal in that checkout, with the key that `make serve` printed."""
    ports = {
        8080: int(facade.url.rpartition(":")[2]),
        8000: triton.http_port,
        8001: triton.grpc_port,
        8002: triton.metrics_port,
    }
    with Terminal(checkout, tmp_path, ports, {"API_KEY": KEY}) as terminal:
        yield terminal
