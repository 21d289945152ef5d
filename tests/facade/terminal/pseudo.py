"""A command in a terminal that isn't there: what a person would see, escape codes and all."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def run_in_terminal(*arguments: str, **environment: str) -> str:
    """Run a module with a terminal as stdout and stderr; give what it showed."""
    ours, theirs = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-m", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        env={**kept, "TERM": "xterm", **environment},
    ):
        os.close(theirs)
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # Linux says so when the other end is closed
            os.close(ours)
    return shown.decode()
