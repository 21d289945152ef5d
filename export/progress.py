"""
Progress of the long steps, told by the pipeline; the steps themselves never print.

A line when a step starts and one when it ends, with the seconds it took, so that a log file reads well too.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Writes one line at the start and one at the end of each step to *stream*; to nothing if it is None."""

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, label: str) -> Iterator[None]:
        """
        Time a step and tell that it starts and that it is done; a step that raises tells nothing more.

        Args:
            label: What the step does, as it stands in the line.

        Yields:
            Nothing; the step is the body of the `with` statement.
        """
        self.tell(f"{label} ...")
        started = self._clock()
        yield
        self.seconds[label] = self._clock() - started
        self.tell(f"{label}: done in {self.seconds[label]:.1f} s")

    def tell(self, line: str) -> None:
        """
        Write one line, at once.

        Args:
            line: The line, without its newline.
        """
        if self._stream is not None:
            self._stream.write(f"{line}\n")
            self._stream.flush()
