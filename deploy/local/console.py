"""What the user sees: one line at a time, without control characters unless a person watches."""

from __future__ import annotations

import os
import sys
import time

_GREEN, _RED, _PLAIN = "\x1b[1;32m", "\x1b[1;31m", "\x1b[0m"


class Console:
    """Lines on stdout, failures on stderr; both at once and whole, also through a pipe."""

    def __init__(self) -> None:
        self._started = time.monotonic()

    def say(self, line: str) -> None:
        """
        Tell about progress.

        Args:
            line: The line, without its end. The seconds since the start are put before it.
        """
        self._write(sys.stdout.fileno(), f"[{time.monotonic() - self._started:6.1f} s] {line}")

    def announce(self, text: str) -> None:
        """
        Tell what the user has been waiting for.

        Args:
            text: One or more lines, the first of which stands out.
        """
        first, _, rest = text.partition("\n")
        self._write(sys.stdout.fileno(), f"{_coloured(sys.stdout.fileno(), _GREEN, first)}\n{rest}")

    def fail(self, text: str) -> None:
        """
        Tell what went wrong.

        Args:
            text: One or more lines, the first of which stands out.
        """
        first, newline, rest = text.partition("\n")
        self._write(sys.stderr.fileno(), f"{_coloured(sys.stderr.fileno(), _RED, first)}{newline}{rest}")

    @staticmethod
    def _write(descriptor: int, text: str) -> None:
        # Past Python's buffers: a signal handler may interrupt any line, and a reader that has gone away,
        # as in `make serve | head`, is no reason to stop serving.
        try:
            os.write(descriptor, f"{text}\n".encode(errors="replace"))
        except OSError:
            return


def _coloured(descriptor: int, colour: str, text: str) -> str:
    """Colour a text where it is wanted; as `facade.terminal.colours`, which isn't installed yet when this runs."""
    if os.environ.get("NO_COLOR"):
        return text
    is_forced = os.environ.get("FORCE_COLOR", "0") not in {"", "0"}
    wants_colour = is_forced or (os.isatty(descriptor) and os.environ.get("TERM", "dumb") != "dumb")
    return f"{colour}{text}{_PLAIN}" if wants_colour else text
