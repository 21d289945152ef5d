"""What is done with real processes and real shared memory."""

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

STUBBORN = "import signal; signal.signal(15, signal.SIG_IGN); print('up', flush=True); signal.pause()"
OBEDIENT = "import signal; print('up', flush=True); signal.pause()"


@pytest.fixture(name="mark")
def _mark() -> str:
    """A mark that no other process has."""
    return secrets.token_hex(8)


@pytest.fixture(name="start")
def _start(mark: str) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start Python processes that bear the mark; all are gone afterwards."""
    started: list[subprocess.Popen[bytes]] = []

    def start(code: str, **options: bool) -> subprocess.Popen[bytes]:
        child = subprocess.Popen(
            [sys.executable, "-c", code],
            stdout=subprocess.PIPE,
            env={**os.environ, linux.RUN_MARK: mark},
            **options,  # type: ignore[call-overload]
        )
        started.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"up\n"
        return child

    yield start
    for child in started:
        child.kill()
        child.wait()
        assert child.stdout is not None
        child.stdout.close()


def test_marked_processes_are_found_wherever_they_are(
    start: Callable[..., subprocess.Popen[bytes]], mark: str
) -> None:
    """A session of its own hides nothing, and others are not found."""
    children = [start(OBEDIENT), start(OBEDIENT, start_new_session=True)]

    assert sorted(linux.marked_processes(mark)) == sorted(child.pid for child in children)
    assert linux.marked_processes(mark + "x") == []


def test_what_ignores_sigterm_is_killed(start: Callable[..., subprocess.Popen[bytes]], mark: str) -> None:
    """After the grace; the obedient go at the first signal."""
    obedient, stubborn = start(OBEDIENT), start(STUBBORN)

    ended = linux.end_marked_processes(mark, 0.3)

    assert ended == sorted([obedient.pid, stubborn.pid])
    assert linux.marked_processes(mark) == []


def test_a_group_is_killed_with_those_whose_leader_has_died(
    start: Callable[..., subprocess.Popen[bytes]], mark: str
) -> None:
    """Triton's stubs stay in its group when it crashes."""
    leader = start(
        "import subprocess, sys\n"
        f"child = subprocess.Popen([sys.executable, '-c', {STUBBORN!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print('up', flush=True); child.wait()",
        start_new_session=True,
    )
    leader.kill()
    leader.wait()
    assert len(linux.marked_processes(mark)) == 1

    linux.end_group(leader.pid)

    assert linux.marked_processes(mark) == []


def test_dead_children_of_another_process_are_seen(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    """A parent that does not wait for its children keeps them as zombies."""
    parent = start(
        "import os, signal, time\n"
        "if os.fork() == 0: os._exit(0)\n"
        "os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)\n"
        "print('up', flush=True); signal.pause()"
    )

    assert len(linux.dead_children(parent.pid)) == 1
    assert linux.dead_children(os.getpid()) == []


def test_shared_memory_is_removed_by_prefix(mark: str) -> None:
    """Regions of other programs stay."""
    mine, other = linux.SHARED_MEMORY / f"tf-{mark}-1", linux.SHARED_MEMORY / f"other-{mark}"
    mine.touch()
    other.touch()
    try:
        assert linux.remove_shared_memory(f"tf-{mark}-") == [mine.name]
        assert other.exists()
    finally:
        mine.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def test_an_empty_prefix_is_refused() -> None:
    """It would be everybody's."""
    with pytest.raises(ValueError, match="other programs"):
        linux.remove_shared_memory("")


def test_a_command_dies_with_its_parent() -> None:
    """Even if the parent had no time to say anything."""
    code = (
        "import subprocess, sys\n"
        f"wrapper = {linux.DIE_WITH_PARENT!r}\n"
        "child = subprocess.Popen([sys.executable, '-IS', '-c', wrapper, sys.executable, '-c', "
        f"{OBEDIENT!r}], stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True); child.wait()"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout:
        child_pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()

    deadline = time.monotonic() + 10
    while _is_alive(child_pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not _is_alive(child_pid)


def test_memory_of_a_child_can_be_searched(start: Callable[..., subprocess.Popen[bytes]], mark: str) -> None:
    """A text that it made is found, another is not."""
    child = start(f"text = '{mark[:8]}' + '-' + '{mark[8:]}'; {OBEDIENT}")

    assert linux.remembers(child.pid, f"{mark[:8]}-{mark[8:]}")
    assert not linux.remembers(child.pid, f"{mark[8:]}-{mark[:8]}")


def test_a_signal_handler_is_seen_from_outside(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    """Python has one for SIGINT and none for SIGUSR1."""
    child = start(OBEDIENT)

    assert linux.catches(child.pid, signal.SIGINT)
    assert not linux.catches(child.pid, signal.SIGUSR1)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
