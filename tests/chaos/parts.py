"""What runs, and who starts it again: as under `make serve`, what is dead or hangs comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import httpx

from deploy.local.triton import CHECKOUT, TritonServer
from deploy.local.watch import TritonWatch

if TYPE_CHECKING:
    from collections.abc import Mapping

LOOK_S = 0.25


class KeptTriton:
    """
    A Triton with a keeper: a thread of its own, since Triton dies with the thread that started it.

    Args:
        server: What is kept.
    """

    def __init__(self, server: TritonServer) -> None:
        self.server = server
        self._is_ready = threading.Event()
        self._is_over = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def start(self) -> None:
        """Begin; `wait_ready` tells when models can be asked."""
        self._thread.start()

    def wait_ready(self) -> None:
        """Wait until every model is ready."""
        assert self._is_ready.wait(180), "Triton was not ready in time"
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End it, at once."""
        self._is_over.set()
        self._thread.join(60)

    def is_whole(self) -> bool:
        """Tell whether it runs with all its models."""
        with suppress(httpx.TransportError):
            url = f"http://{self.server.http_url}/v2/health/ready"
            # With --strict-readiness, as by default, it is ready when all its models are.
            return httpx.get(url).status_code == httpx.codes.OK and not self.server.dead_stubs()
        return False

    def stub_of(self, model: str) -> int:
        """
        Find the process that runs a model.

        Args:
            model: A door's name, or a core's.

        Returns:
            The id of one of its processes.
        """
        for task in Path(f"/proc/{self.server.pid}/task").iterdir():
            for pid in map(int, (task / "children").read_text().split()):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
                # The stub's first argument is a file of the model's version.
                if len(command) > 1 and f"/{model}/" in command[1]:
                    return pid
        raise LookupError(f"no process runs {model}")

    def _keep(self) -> None:
        try:
            self.server.start()
            self.server.wait_ready()
        except Exception as error:  # noqa: BLE001  # told to whoever waits
            self._failure = error
            self._is_ready.set()
            return
        self._is_ready.set()
        watch = TritonWatch(self.server)
        while not self._is_over.wait(LOOK_S):
            if watch.what_is_wrong() is not None:
                self.server.kill()
                self.server.restart()
                watch.forget()
        self.server.kill()


class KeptFacade:
    """
    A façade with two workers on a fixed port, started again when it ends.

    Args:
        port: Where it listens.

        environment: All of its environment.

        log_path: Where it writes its log.
    """

    def __init__(self, port: int, environment: Mapping[str, str], log_path: Path) -> None:
        self.port = port
        self._environment = dict(environment)
        self._log_path = log_path
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    def start(self) -> None:
        """Start it; `wait_ready` tells when it answers."""
        self._log = self._log_path.open("ab", buffering=0)
        command = [sys.executable, "-m", "facade", "serve", "--port", str(self.port), "--workers", "2"]
        self._process = subprocess.Popen(
            command, cwd=CHECKOUT, env=self._environment, stdout=subprocess.DEVNULL, stderr=self._log
        )

    def wait_ready(self, timeout_s: float = 60) -> None:
        """Wait until it is ready."""
        end = time.monotonic() + timeout_s
        while True:
            assert self._process is not None
            assert self._process.poll() is None, self._log_path.read_text()[-2000:]
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health/ready").status_code == httpx.codes.OK:
                    return
            except httpx.TransportError:
                pass
            assert time.monotonic() < end, self._log_path.read_text()[-2000:]
            time.sleep(0.05)

    def worker(self) -> int:
        """Give the process id of one of its workers."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        # Python's own resource tracker is a child too.
        return next(
            int(pid)
            for pid in children
            if b"resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        )

    def stop(self) -> None:
        """End it and its workers."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._log is not None:
            self._log.close()


def kill(pid: int) -> None:
    """End a process as a crash does."""
    os.kill(pid, signal.SIGKILL)
