"""What reaches the terminal, the pipe, and nobody."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

SCRIPT = """
from deploy.local.console import Console
console = Console()
console.say("working")
console.announce("ready\\nat last")
console.fail("broken\\nbecause")
"""


def run_on_terminal(env: dict[str, str]) -> str:
    """Run the script with a terminal as its stdout and return what it shows."""
    terminal, line = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            stdout=line,
            stderr=subprocess.DEVNULL,
            check=True,
            env={**os.environ, **env},
        )
        return os.read(terminal, 4096).decode()
    finally:
        os.close(terminal)
        os.close(line)


def test_a_pipe_gets_no_control_characters() -> None:
    """Failures go to stderr, the rest to stdout."""
    answer = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)

    assert answer.stdout.endswith("s] working\nready\nat last\n")
    assert answer.stderr == "broken\nbecause\n"
    assert "\x1b" not in answer.stdout


def test_a_terminal_gets_colour() -> None:
    """What was waited for stands out."""
    assert "\x1b[1;32mready\x1b[0m" in run_on_terminal({"TERM": "xterm", "NO_COLOR": ""})


def test_a_terminal_gets_no_colour_where_none_is_wanted() -> None:
    """NO_COLOR is respected (no-color.org)."""
    assert "\x1b" not in run_on_terminal({"TERM": "xterm", "NO_COLOR": "1"})


def test_a_pipe_gets_colour_where_it_is_asked_for() -> None:
    """FORCE_COLOR, as a CI sets it; NO_COLOR still wins."""
    for variables, is_coloured in (
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ):
        answer = subprocess.run(
            [sys.executable, "-c", SCRIPT],
            capture_output=True, text=True, check=True, env={**os.environ, "NO_COLOR": "", **variables},
        )  # fmt: skip
        assert ("\x1b[1;32mready\x1b[0m" in answer.stdout) is is_coloured


def test_a_reader_that_has_gone_is_no_failure() -> None:
    """Serving goes on when the pipe's other end is closed."""
    reading_end, writing_end = os.pipe()
    os.close(reading_end)
    try:
        answer = subprocess.run(
            [sys.executable, "-c", SCRIPT], stdout=writing_end, stderr=subprocess.PIPE, check=False
        )
    finally:
        os.close(writing_end)

    assert answer.returncode == 0
    assert answer.stderr == b"broken\nbecause\n"
