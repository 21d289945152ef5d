"""The long steps before anything runs: one command each, its output in a log, its progress on the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from deploy.local.linux import DIE_WITH_PARENT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

_STILL_AT_IT_S = 15.0
_POLL_S = 0.2
_TAIL_LINES = 15


class StepFailed(Exception):
    """A step failed; the message has the end of its log and what to do."""


def run_step(
    what: str,
    command: Sequence[str],
    *,
    log: Path,
    folder: Path,
    say: Callable[[str], None],
    remedy: str,
    relays: bool = False,
) -> None:
    """
    Run one command to its end.

    Args:
        what: What it does, as in "installing Triton".

        command: Program, by its path, and arguments.

        log: File that its output is appended to.

        folder: Where it runs.

        say: Takes one line of progress at a time.

        remedy: What the user can do if it fails.

        relays: Whether each line of its output is progress worth showing.

    Raises:
        StepFailed: If it can't be started or ends with another code than 0.
    """
    say(f"{what} ...")
    started = time.monotonic()
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(command)}\n".encode())
        output.flush()
        log_start = output.tell()
        child = subprocess.Popen(
            [sys.executable, "-IS", "-c", DIE_WITH_PARENT, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_clean_environment(),
        )
        try:
            _watch(child, log if relays else None, log_start, say)
        except BaseException:
            child.send_signal(signal.SIGTERM)
            child.wait()
            raise
    elapsed_s = time.monotonic() - started
    if child.returncode != 0:
        raise StepFailed(
            f"{what} failed after {elapsed_s:.0f} s with exit code {child.returncode}. The last lines of {log}:\n"
            f"{tail(log, log_start)}\n{remedy}"
        )
    say(f"  done in {elapsed_s:.1f} s")


def _watch(
    child: subprocess.Popen[bytes], log: Path | None, position: int, say: Callable[[str], None]
) -> None:
    """Wait for a child, relaying what it adds to *log*, or else a sign of life now and then."""
    started = last_said = time.monotonic()
    is_over = False
    while not is_over:
        is_over = child.poll() is not None
        if not is_over:
            time.sleep(_POLL_S)
        if log is not None:
            with log.open("rb") as output:
                output.seek(position)
                # Half a line is left for the next round.
                complete, newline, _ = output.read().rpartition(b"\n")
            position += len(complete) + len(newline)
            for line in complete.decode(errors="replace").splitlines():
                say(f"  {line}")
                last_said = time.monotonic()
        if not is_over and time.monotonic() - last_said > _STILL_AT_IT_S:
            last_said = time.monotonic()
            say(f"  still at it after {last_said - started:.0f} s")


def _clean_environment() -> dict[str, str]:
    """Take along everything, pip's own settings included, but what would point it at another environment."""
    misleading = {"PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "PIP_TARGET", "PIP_PREFIX", "PIP_USER"}
    return {key: value for key, value in os.environ.items() if key not in misleading}


def tail(log: Path, start: int = 0) -> str:
    """
    Read the end of a log.

    Args:
        log: The file.

        start: Where to begin, in bytes, so that what an earlier run wrote is left out.

    Returns:
        Its last lines, indented; a remark if there are none.
    """
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - 64 * 1024))
            found = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        found = []
    return "\n".join(f"  | {line}" for line in found) or "  | (nothing was written)"
