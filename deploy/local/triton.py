"""
One real tritonserver on this machine: started, watched, stopped, and nothing left of it.

`TritonServer` knows nothing of the façade: tests and benchmarks use it as `make serve` does::

    with TritonServer(repository) as triton:
        client = tritonclient.grpc.InferenceServerClient(triton.grpc_url)

What a crash leaves behind, and what takes care of it here:
    * stubs, the processes that run Python models; they ignore SIGTERM: killed with the process group;
    * shared memory: its names begin with a prefix of this run's own;
    * empty folders ``/tmp/python_env_*``, whose place can't be chosen: noticed when they appear.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

from deploy.local import linux
from deploy.local.install import site_packages
from deploy.local.preflight import find_libpython_dir
from deploy.local.steps import tail

CHECKOUT = Path(__file__).resolve().parents[2]
_TEMPORARY = Path("/tmp")  # noqa: S108 - where Triton's Python backend puts its folder, whatever TMPDIR says
_POLL_S = 0.05
_PORT_ATTEMPTS = 3


class TritonFailed(Exception):
    """Triton did not start or did not become ready; the message has the reason from its log."""


class TritonServer:
    """
    A tritonserver that serves one model repository.

    NOTE: It gets SIGTERM when the *thread* that called `start` ends: start it from a thread that stays.
    """

    def __init__(
        self,
        repository: Path,
        *,
        home: Path = CHECKOUT / ".triton",
        host: str = "127.0.0.1",
        http_port: int = 0,
        grpc_port: int = 0,
        metrics_port: int = 0,
        log_path: Path | None = None,
        env: Mapping[str, str] | None = None,
        extra_args: Sequence[str] = (),
        exit_timeout_s: int = 10,
    ) -> None:
        """
        Describe a server; nothing runs before `start`.

        Args:
            repository: The model repository. Every model in it is loaded, and can be reloaded on request.

            home: Triton's environment, as `install` makes it.

            host: Address to listen on.

            http_port: Port of the HTTP endpoint; 0 for a free one, here and below.

            grpc_port: Port of the gRPC endpoint.

            metrics_port: Port of Triton's own metrics.

            log_path: File for the server's output, appended to. By default one below `.run/logs` that goes
                when the server is stopped.

            env: More environment variables for the server and its models.

            extra_args: More options for tritonserver.

            exit_timeout_s: Seconds that requests in flight get when the server is stopped.
        """
        # Stubs are told these paths, and work elsewhere than here.
        self.repository = repository.resolve()
        self.home = home.resolve()
        self.host = host
        self.shm_prefix = f"tf-{secrets.token_hex(4)}-"
        self.pid: int | None = None
        self.temporary_dirs: set[Path] = set()
        self.log_path = log_path or CHECKOUT / ".run" / "logs" / f"triton-{self.shm_prefix}.log"
        self._keeps_log = log_path is not None
        self._asked_ports = (http_port, grpc_port, metrics_port)
        self.http_port, self.grpc_port, self.metrics_port = self._asked_ports
        self._env = dict(env or {})
        self._extra_args = list(extra_args)
        self._exit_timeout_s = exit_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        self._folders_before: set[Path] = set()

    @property
    def http_url(self) -> str:
        """``host:port`` of the HTTP endpoint."""
        return f"{self.host}:{self.http_port}"

    @property
    def grpc_url(self) -> str:
        """``host:port`` of the gRPC endpoint."""
        return f"{self.host}:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """``host:port`` of Triton's metrics."""
        return f"{self.host}:{self.metrics_port}"

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """
        Start the server and return at once; models are loaded meanwhile.

        Raises:
            TritonFailed: If Triton is not installed, or runs already.
        """
        if self._process is not None:
            raise TritonFailed("this server runs already")
        if not (self.home / "backends" / "onnxruntime" / "model.py").exists():
            raise TritonFailed(f"Triton is not installed in {self.home}: run `make install`")
        self._choose_ports()
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._folders_before = _temporary_folders()
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-IS", "-c", linux.DIE_WITH_PARENT, *self._command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment(),
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_ready(self, timeout_s: float = 120.0) -> None:
        """
        Wait until the server and every one of its models is ready.

        Args:
            timeout_s: Seconds to wait.

        Raises:
            TritonFailed: If the server ended, or was not ready in time.
        """
        deadline = time.monotonic() + timeout_s
        attempts = 1
        while not self._answers_ready():
            self._find_temporary_dirs()
            if not self.is_running():
                # Between choosing a free port and listening on it, somebody else may have taken it.
                if (
                    attempts < _PORT_ATTEMPTS
                    and 0 in self._asked_ports
                    and "already in use" in self._output()
                ):
                    attempts += 1
                    self._clean_up()
                    self.start()
                    continue
                raise TritonFailed(f"Triton ended while it was starting. {self.explain()}")
            if time.monotonic() > deadline:
                raise TritonFailed(f"Triton was not ready after {timeout_s:.0f} s. {self.explain()}")
            time.sleep(_POLL_S)
        self._find_temporary_dirs()

    def is_running(self) -> bool:
        """Tell whether the server's process lives."""
        return self._process is not None and self._process.poll() is None

    def exit_code(self) -> int | None:
        """Tell how the server's process ended, as `subprocess` does; None if it did not."""
        return None if self._process is None else self._process.poll()

    def is_live(self, timeout_s: float) -> bool:
        """
        Ask the server whether it lives; its models may not be ready.

        Args:
            timeout_s: Seconds until it has to answer.

        Returns:
            Whether it answered.
        """
        try:
            return self._ask("GET", "/v2/health/live", timeout_s) is not None
        except (OSError, http.client.HTTPException):
            return False

    def dead_stubs(self) -> list[int]:
        """
        Find stubs that died under a living server.

        Triton does not start another one: the model stays "ready" and every request to it fails, for ever.
        A model that is just being unloaded has such a stub too, but for an instant only.

        Returns:
            Process ids; empty if all is well.
        """
        return [] if self.pid is None else linux.dead_children(self.pid)

    def stop(self) -> None:
        """Stop the server, letting requests in flight finish, and remove everything it made."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._exit_timeout_s + 5)
        self._clean_up()
        if not self._keeps_log:
            self.log_path.unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server and its stubs at once, as a machine failure would, and remove what is left."""
        self._clean_up()

    def restart(self, timeout_s: float = 120.0) -> None:
        """
        Start again on the same ports, after a crash or `kill` as well as from a running state.

        Args:
            timeout_s: Seconds until every model has to be ready.

        Raises:
            TritonFailed: If it is not.
        """
        if self.is_running():
            self.stop()
        self._clean_up()
        self._asked_ports = (self.http_port, self.grpc_port, self.metrics_port)
        self.start()
        self.wait_ready(timeout_s)

    def explain(self) -> str:
        """
        Tell what this run's log has to say about a failure.

        Returns:
            What Triton says about models that it could not load, or why it gave up, or else the last lines.
        """
        lines = [" ".join(line.strip("| ").split()) for line in self._output().splitlines()]
        # The table of models says it best, then the line with which the server gives up.
        for sign in (" UNAVAILABLE: ", "error: "):
            reasons = [f"  | {line[:1000]}" for line in dict.fromkeys(lines) if sign in f" {line}"]
            if reasons:
                return "\n".join([f"From {self.log_path}:", *reasons])
        return f"The last lines of {self.log_path}:\n{tail(self.log_path, self._log_start)}"

    def _command(self) -> list[str]:
        server = site_packages(self.home) / "pytriton" / "tritonserver"
        return [
            str(server / "bin" / "tritonserver"),
            f"--model-repository={self.repository}",
            f"--backend-directory={self.home / 'backends'}",
            "--model-control-mode=explicit",
            "--load-model=*",
            f"--http-address={self.host}",
            f"--http-port={self.http_port}",
            f"--grpc-address={self.host}",
            f"--grpc-port={self.grpc_port}",
            f"--metrics-address={self.host}",
            f"--metrics-port={self.metrics_port}",
            f"--exit-timeout-secs={self._exit_timeout_s}",
            f"--backend-config=python,shm-region-prefix-name={self.shm_prefix}",
            *self._extra_args,
        ]

    def _environment(self) -> dict[str, str]:
        unwanted = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"}
        env = {key: value for key, value in os.environ.items() if key not in unwanted}
        env.update(self._env)
        # The stub takes its packages from the first python3 on the PATH.
        env["PATH"] = f"{self.home / 'bin'}:{env.get('PATH', os.defpath)}"
        libraries = [str(site_packages(self.home) / "nvidia_pytriton.libs"), find_libpython_dir() or ""]
        libraries.append(env.get("LD_LIBRARY_PATH", ""))
        env["LD_LIBRARY_PATH"] = ":".join(folder for folder in libraries if folder)
        # No __pycache__ in the model repository, whose files are listed and hashed.
        env["PYTHONDONTWRITEBYTECODE"] = "1"
        return env

    def _choose_ports(self) -> None:
        # All are held open until all are chosen, so that no two are the same.
        with contextlib.ExitStack() as held:
            ports = []
            for port in self._asked_ports:
                listener = held.enter_context(socket.socket())
                if port == 0:
                    listener.bind((self.host, 0))
                ports.append(port or int(listener.getsockname()[1]))
        self.http_port, self.grpc_port, self.metrics_port = ports

    def _answers_ready(self) -> bool:
        try:
            if self._ask("GET", "/v2/health/ready") is None:
                return False
            models = self._ask("POST", "/v2/repository/index")
        except (OSError, http.client.HTTPException):
            return False
        if models is None:
            return False
        # Versions that a reload dropped stay in the list as UNAVAILABLE: one ready version makes a model ready.
        ready = {model["name"] for model in models if model.get("state") == "READY"}
        return all(model["name"] in ready and model.get("state") != "LOADING" for model in models)

    def _ask(self, method: str, path: str, timeout_s: float = 5) -> Any:
        """Call Triton over HTTP; None unless it answers 200."""
        connection = http.client.HTTPConnection(self.host, self.http_port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path)
            response = connection.getresponse()
            body = response.read()
            if response.status != http.client.OK:
                return None
            return json.loads(body) if body else {}

    def _output(self) -> str:
        """Read what this run wrote to the log."""
        with contextlib.suppress(OSError), self.log_path.open("rb") as log:
            log.seek(self._log_start)
            return log.read().decode(errors="replace")
        return ""

    def _clean_up(self) -> None:
        if self._process is not None:
            linux.end_group(self._process.pid)
            self._process.wait()
            self._process = None
            self.pid = None
        for folder in self.temporary_dirs:
            # rmdir and not rmtree: nothing is in it unless a model brings a Python environment of its own.
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.temporary_dirs = set()
        linux.remove_shared_memory(self.shm_prefix)

    def _find_temporary_dirs(self) -> None:
        for folder in _temporary_folders() - self._folders_before - self.temporary_dirs:
            # Another Triton may be starting at the same time; the server's memory tells which is whose.
            if self.pid is not None and linux.remembers(self.pid, str(folder)):
                self.temporary_dirs.add(folder)


def _temporary_folders() -> set[Path]:
    return set(_TEMPORARY.glob("python_env_*"))
