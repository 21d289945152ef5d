"""`make serve` as users run it: a real Triton, the real model and the façade, each killed in turn."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import re
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local import linux
from deploy.local.install import SERVE_EXTRAS, Places, is_current
from deploy.local.triton import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

needs_installation = pytest.mark.skipif(
    not is_current(Places(CHECKOUT), SERVE_EXTRAS),
    reason="this checkout was not installed by `make test`, and a test does not install it",
)


class Served:
    """A `make serve` of its own ports, and what it printed."""

    def __init__(self, folder: Path, **variables: str) -> None:
        """Start it."""
        self.mark = secrets.token_hex(8)
        self.log = folder / "serve.log"
        self.ports = dict(
            zip(
                ("PORT", "TRITON_HTTP_PORT", "TRITON_GRPC_PORT", "TRITON_METRICS_PORT"),
                free_ports(4),
                strict=True,
            )
        )
        settings = {**self.ports, **variables, "PYTHON": sys.executable}
        with self.log.open("wb") as log:
            # The tests' own mark is another variable than the supervisor's: it has to find its own alone.
            self.make = subprocess.Popen(
                [
                    "make",
                    "--no-print-directory",
                    "serve",
                    *(f"{key}={value}" for key, value in settings.items()),
                ],
                cwd=CHECKOUT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "SERVE_TEST": self.mark},
                start_new_session=True,
            )

    def output(self) -> str:
        """Return what it printed so far."""
        return self.log.read_text()

    def wait_for(self, text: str, timeout_s: float = 120.0) -> None:
        """Wait until a text was printed."""
        deadline = time.monotonic() + timeout_s
        while text not in self.output():
            assert self.make.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def processes(self) -> dict[int, str]:
        """Find every process that came of it, with its command line."""
        wanted = f"SERVE_TEST={self.mark}".encode()
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if wanted in (entry / "environ").read_bytes().split(b"\0"):
                        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                        found[int(entry.name)] = command
                except OSError:
                    continue
        return found

    def pids(self, word: str) -> list[int]:
        """Find the processes with a word in their command line, make itself apart."""
        return [pid for pid, command in self.processes().items() if word in command and pid != self.make.pid]

    def shared_memory(self) -> list[str]:
        """List the regions of its Triton."""
        found = re.findall(r"shm-region-prefix-name=(\S+)", " ".join(self.processes().values()))
        return [region.name for prefix in found for region in linux.SHARED_MEMORY.glob(f"{prefix}*")]

    def ask(self) -> int | None:
        """Run the first printed curl line, without curl; the status, or None if nobody answers."""
        return self.curl(0, input=secrets.token_hex(4))[0]

    def chat(self) -> str:
        """Run the second one, a chat that is streamed; what comes, empty if nobody answers."""
        status, text = self.curl(1, user=secrets.token_hex(4))
        return text if status == 200 else ""

    def curl(self, place: int, **changes: Any) -> tuple[int | None, str]:
        """Run a printed curl line with some of its body changed: status and answer, None if nobody answers."""
        lines = [line for line in self.output().splitlines() if line.startswith("curl ")]
        options = shlex.split(lines[place])
        url = next(word for word in options if word.startswith("http://"))
        headers = dict(value.split(": ", 1) for flag, value in itertools.pairwise(options) if flag == "-H")
        body = json.loads(options[options.index("-d") + 1]) | changes
        host, _, path = url.removeprefix("http://").partition("/")
        with closing(http.client.HTTPConnection(host, timeout=10)) as connection:
            try:
                connection.request("POST", f"/{path}", json.dumps(body), headers)
                response = connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException):
                return None, ""

    def wait_until_gone(self, timeout_s: float = 30.0) -> None:
        """Wait for the end of everything."""
        deadline = time.monotonic() + timeout_s
        while processes := self.processes():
            assert time.monotonic() < deadline, processes
            time.sleep(0.05)
        self.make.wait(5)

    def end(self) -> None:
        """Leave nothing behind, whatever a test did: the janitor cleans up after all the others."""
        for pid, command in self.processes().items():
            if "deploy.local.janitor" not in command:
                os.kill(pid, signal.SIGKILL)
        self.make.wait()
        self.wait_until_gone()


def free_ports(count: int) -> list[str]:
    """Choose free ports."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(socket.socket()) for _ in range(count)]
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [str(listener.getsockname()[1]) for listener in listeners]


def wait_until(condition: Callable[[], Any], served: Served) -> None:
    """Wait for something within a deadline that leaves time for a slow machine."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, served.output()
        time.sleep(0.1)


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Start `make serve` and wait until it is ready."""
    started: list[Served] = []

    def start(**variables: str) -> Served:
        served = Served(tmp_path, **variables)
        started.append(served)
        served.wait_for("Ctrl-C stops everything.")
        return served

    yield start
    for served in started:
        served.end()


@needs_installation
@pytest.mark.e2e
def test_whatever_is_killed_comes_back(start: Callable[..., Served]) -> None:
    """Triton, the façade, the janitor, a stub of the door, the core and the decoder; then Ctrl-C ends it all."""
    served = start(API_KEY="my-own-key")
    assert "  key  my-own-key" in served.output()
    assert f"  page http://127.0.0.1:{served.ports['PORT']}/ui\n" in served.output()
    assert "\x1b" not in served.output()
    assert [pid for pid in served.pids("my-own-key") if pid != served.make.pid] == []
    assert served.ask() == 200
    assert "data: [DONE]" in served.chat()

    again = "  it runs again"
    for word, message, end in (
        ("bin/tritonserver", "Triton was ended by SIGKILL; starting it again ...", again),
        ("triton-facade", "The façade was ended by SIGKILL; starting it again ...", again),
        ("deploy.local.janitor", "the janitor died; another one is started", ""),
        ("minilm/1/model.py", "Triton lost a process that runs a model; starting it again ...", again),
        ("minilm_core/1/", "Triton lost a process that runs a model; starting it again ...", again),
        ("tiny-chat/1/model.py", "Triton lost a process that runs a model; starting it again ...", again),
    ):
        said = len(served.output())
        os.kill(served.pids(word)[0], signal.SIGKILL)
        # The other stub may answer meanwhile: only what is printed tells that the restart is over.
        wait_until(lambda message=message, said=said: message in served.output()[said:], served)
        wait_until(lambda end=end, said=said: end in served.output()[said:], served)
        wait_until(lambda: served.ask() == 200 and "data: [DONE]" in served.chat(), served)

    assert served.shared_memory()
    regions = served.shared_memory()
    os.killpg(served.make.pid, signal.SIGINT)
    served.wait_until_gone()
    assert served.output().splitlines()[-1].endswith("stopped; nothing is left running")
    assert "Error" not in served.output()
    assert [name for name in regions if (linux.SHARED_MEMORY / name).exists()] == []


@needs_installation
@pytest.mark.e2e
def test_a_killed_supervisor_takes_everything_along(start: Callable[..., Served]) -> None:
    """The janitor says so."""
    served = start()
    regions = served.shared_memory()
    assert served.ask() == 200
    assert regions

    os.kill(served.pids("-m deploy.local serve")[0], signal.SIGKILL)

    served.wait_until_gone()
    assert "The supervisor was killed; everything it had started is stopped" in served.output()
    assert [name for name in regions if (linux.SHARED_MEMORY / name).exists()] == []


@needs_installation
@pytest.mark.e2e
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_end_of_make_alone_stops_everything(start: Callable[..., Served], signum: int) -> None:
    """Even where the signal does not reach the supervisor."""
    served = start()

    os.kill(served.make.pid, signum)

    served.wait_until_gone()
    assert "stopped; nothing is left running" in served.output()


@needs_installation
@pytest.mark.e2e
def test_a_model_that_can_not_be_exported_ends_it(tmp_path: Path) -> None:
    """The part, the end of its log and the remedy are told; make fails."""
    served = Served(tmp_path, MODEL="/nonexistent/model")
    try:
        assert served.make.wait(60) == 2
    finally:
        served.end()

    assert "exporting the model model failed" in served.output()
    assert "  | Error: There is no model folder at '/nonexistent/model'." in served.output()
    assert "Check that MODEL is" in served.output()
