"""The janitor as a real process, with real marked processes and shared memory to clean up."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from deploy.local import linux
from deploy.local.children import Janitor
from deploy.local.janitor import folders_line

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(name="run_id")
def _run_id() -> str:
    """The mark of a run of its own."""
    return secrets.token_hex(8)


@pytest.fixture(name="orphan")
def _orphan(run_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """A marked process that ignores SIGTERM, as stubs do."""
    code = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, linux.RUN_MARK: run_id}
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def test_everything_goes_when_the_pipe_closes(
    run_id: str, orphan: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """Processes, shared memory and folders; a folder with something in it stays."""
    region = linux.SHARED_MEMORY / f"tf-{run_id}-1"
    region.touch()
    empty, full = tmp_path / "empty", tmp_path / "full"
    for folder in (empty, full / "something"):
        folder.mkdir(parents=True)

    answer = subprocess.run(
        [sys.executable, "-m", "deploy.local.janitor", run_id, f"tf-{run_id}-"],
        input=folders_line({empty, full}),
        stderr=subprocess.PIPE,
        check=True,
        timeout=30,
    )

    assert orphan.wait(10) == -signal.SIGKILL
    assert [region.exists(), empty.exists(), full.exists()] == [False, False, True]
    assert b"The supervisor was killed" in answer.stderr


def test_nothing_is_said_when_nothing_is_left(run_id: str) -> None:
    """The usual end of a run is not worth a line."""
    answer = subprocess.run(
        [sys.executable, "-m", "deploy.local.janitor", run_id, f"tf-{run_id}-"],
        input=b"",
        stderr=subprocess.PIPE,
        check=True,
        timeout=30,
    )

    assert answer.stderr == b""


def test_it_cleans_up_after_a_supervisor_that_was_killed(
    run_id: str, orphan: subprocess.Popen[bytes]
) -> None:
    """The kernel closes the pipe, whatever the supervisor died of."""
    supervisor = subprocess.Popen(
        [
            sys.executable,
            "-c",
            (
                "import signal, sys\nfrom deploy.local.children import Janitor\n"
                "Janitor(*sys.argv[1:]).start(); print('up', flush=True); signal.pause()"
            ),
            run_id,
            f"tf-{run_id}-",
        ],
        stdout=subprocess.PIPE,
    )
    assert supervisor.stdout is not None
    with supervisor.stdout:
        supervisor.stdout.readline()
        supervisor.kill()
        supervisor.wait()

    # SIGKILL comes after the grace that SIGTERM is given.
    assert orphan.wait(20) == -signal.SIGKILL


def test_a_dead_janitor_is_noticed_and_replaced(run_id: str, tmp_path: Path) -> None:
    """The new one knows the folders that were told to the old one."""
    folder = tmp_path / "folder"
    folder.mkdir()
    janitor = Janitor(run_id, f"tf-{run_id}-")
    janitor.start()
    janitor.tell_folders({folder})
    assert janitor._process is not None
    os.kill(janitor._process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while janitor.is_running() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not janitor.is_running()

    janitor.tell_folders({folder})
    janitor.start()
    assert janitor.is_running()
    janitor.dismiss()

    assert not folder.exists()
