"""
A Triton of `tune`'s own, for a scratch repository: found, started, and stopped with the search.

It is a process: the command that was given, `tritonserver` on the path as in NVIDIA's image, or what a checkout has
installed for itself. Models are loaded on request.
"""

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import IO, Any, cast

from export.errors import BadInput

START_TIMEOUT_S = 120.0
"""Seconds until the server must listen; an image on a cold disk takes half a minute."""

STOP_TIMEOUT_S = 15.0
"""Seconds for it to end by itself."""

_POLL_S = 0.1
_TOLD_CHARACTERS = 600


def find_server(command: str | None, folder: Path) -> list[str] | None:
    """
    Find how to start a Triton.

    Args:
        command: What the user named; None to look for one.

        folder: The working directory, a checkout perhaps.

    Returns:
        The command of a tritonserver, without options; None for the checkout's own.

    Raises:
        BadInput: If there is none, or the command can't be run.
    """
    if command is not None:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise BadInput(f"--tritonserver is no command: {error}.") from error
        if not words or shutil.which(words[0]) is None:
            raise BadInput(
                f"--tritonserver: there is no program {words[0] if words else command!r} that can be run."
            )
        return words
    found = shutil.which("tritonserver")
    if found is not None:
        return [found]
    is_checkout = (folder / "deploy" / "local" / "triton_only.py").is_file()
    if is_checkout and (folder / ".triton" / "backends").is_dir():
        return None
    todo = "Run `make install` here" if is_checkout else "Run this inside NVIDIA's tritonserver image"
    raise BadInput(f"tune needs a Triton and found none. {todo}, or name its command with --tritonserver.")


@contextmanager
def running_server(server: Sequence[str] | None, repository: Path) -> Iterator[str]:
    """
    Run a Triton.

    Args:
        server: What `find_server` found.

        repository: The scratch repository; with the checkout's own server all models in it are loaded.

    Yields:
        ``host:port`` of its gRPC endpoint.

    Raises:
        BadInput: If it doesn't start; the message has the end of its log.
    """
    log_path = repository.parent / "triton.log"
    with log_path.open("wb") as log:
        if server is None:
            command = [sys.executable, "-m", "deploy.local", "triton", "--repository", str(repository)]
            address = None
        else:
            address, command = _with_options(server, repository)
        process = subprocess.Popen(  # noqa: S603 - the user's own command
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if server is None else log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield _wait_told(process, log_path) if address is None else _wait_live(process, address, log_path)
    finally:
        _stop(process)


def _with_options(server: Sequence[str], repository: Path) -> tuple[str, list[str]]:
    """Give a tritonserver free ports and its repository."""
    ports = _free_ports(3)
    names = ("grpc", "http", "metrics")
    options = [f"--{name}-port={port}" for name, port in zip(names, ports, strict=True)]
    options += [f"--{name}-address=127.0.0.1" for name in names]
    # Shared memory of its own: a Triton that serves the same machine must not meet this one's.
    options.append(f"--backend-config=python,shm-region-prefix-name=tune-{os.getpid()}-")
    control = ["--model-control-mode=explicit", f"--model-repository={repository}"]
    return f"127.0.0.1:{ports[0]}", [*server, *control, *options]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _wait_told(process: "subprocess.Popen[bytes]", log_path: Path) -> str:
    """Wait for the line in which the checkout's server says where it listens."""
    said: SimpleQueue[bytes] = SimpleQueue()
    output = cast("IO[bytes]", process.stdout)  # a pipe, as it was started
    Thread(target=lambda: said.put(output.readline()), daemon=True).start()
    try:
        where: Any = json.loads(said.get(timeout=START_TIMEOUT_S))
    except (Empty, ValueError):
        raise BadInput(_tell_start(log_path)) from None
    return str(where["grpc"])


def _wait_live(process: "subprocess.Popen[bytes]", address: str, log_path: Path) -> str:
    """Ask until the server answers."""
    from tritonclient import grpc as triton  # noqa: PLC0415 - takes a fifth of a second
    from tritonclient.utils import InferenceServerException  # noqa: PLC0415

    deadline = time.monotonic() + START_TIMEOUT_S
    with triton.InferenceServerClient(address) as client:
        while process.poll() is None and time.monotonic() < deadline:
            with suppress(InferenceServerException):
                if client.is_server_live(client_timeout=5):
                    return address
            time.sleep(_POLL_S)
    raise BadInput(_tell_start(log_path))


def _tell_start(log_path: Path) -> str:
    end = " ".join(log_path.read_text(encoding="utf-8", errors="replace").split())[-_TOLD_CHARACTERS:]
    return f"The Triton for measuring didn't start. The end of its log: {end or 'empty'}"


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """Let the server end, and end what is left of its session."""
    if process.stdin is not None:
        with suppress(OSError):
            process.stdin.close()  # the checkout's own ends with it, and cleans up
    with suppress(subprocess.TimeoutExpired):
        process.wait(0.5 if process.stdout is None else STOP_TIMEOUT_S)
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(number)
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
    # Triton's stubs ignore SIGTERM and outlive a server that was killed.
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    if process.stdout is not None:
        process.stdout.close()
