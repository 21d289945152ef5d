"""The façade's process, played by a program that writes down how it was started."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING

import pytest

from deploy.local.children import Facade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PROGRAM = """
import os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("started", *sys.argv[1:], os.environ.get("FACADE_API_KEY"), flush=True)
while True:
    signal.pause()
"""


@pytest.fixture(name="facade")
def _facade(tmp_path: Path) -> Iterator[Facade]:
    """A façade whose log is `facade.log`; stopped afterwards."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    (tmp_path / "bin" / "triton-facade").write_text(PROGRAM)
    env = {**os.environ, "FACADE_API_KEY": "secret"}
    facade = Facade(tmp_path, tmp_path / "facade.log", "127.0.0.1", 18080, env)
    yield facade
    facade.stop()


def wait_for_starts(facade: Facade, count: int) -> str:
    """Wait until the program has written its line so many times."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        text = facade.log_path.read_text()
        if text.count("started") >= count:
            return text
        time.sleep(0.01)
    pytest.fail(f"not started: {facade.log_path.read_text()}")


def test_the_key_travels_by_environment(facade: Facade) -> None:
    """On the command line, everybody on the machine could read it."""
    facade.start()

    assert wait_for_starts(facade, 1) == "started serve --host 127.0.0.1 --port 18080 secret\n"


def test_a_killed_facade_is_started_again(facade: Facade) -> None:
    """Its end is seen, and the log goes on."""
    facade.start()
    wait_for_starts(facade, 1)
    assert facade.exit_code() is None
    assert facade._process is not None
    os.kill(facade._process.pid, signal.SIGKILL)
    facade._process.wait(10)
    assert facade.exit_code() == -signal.SIGKILL

    facade.clear_away()
    facade.start()

    wait_for_starts(facade, 2)


def test_a_stop_is_gentle(facade: Facade) -> None:
    """SIGTERM, so that requests in flight finish."""
    facade.start()
    wait_for_starts(facade, 1)
    process = facade._process
    assert process is not None

    facade.stop()

    assert process.returncode == 0


def test_a_stop_before_the_start_is_nothing(facade: Facade) -> None:
    """A failed start stops everything, started or not."""
    facade.stop()

    assert facade.exit_code() is None
