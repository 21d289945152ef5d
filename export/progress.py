"""
Progress of the long steps, told by the pipeline; the steps themselves never print.

On a terminal the step under way has the last line: a bar and the time that is left, where the step knows how far it is,
and the time that has gone by. Everywhere else there is a line when a step starts and one when it ends, so that a log
file reads well too.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread
from typing import TextIO

DRAW_EVERY_S = 0.2
"""Seconds between two looks of the line."""

WORTH_GUESSING_S = 2.0
"""Seconds before the time that is left is guessed; sooner it jumps about."""

_SPINNER = "|/-\\"
_BAR_WIDTH = 20
_CLEAR = "\r\x1b[K"


class Step:
    """
    How far one step is.

    Args:
        label: What it does.

        started: When it began, by the clock of its `Progress`.

        expected_s: Seconds that it takes, where that is known.
    """

    def __init__(self, label: str, started: float, expected_s: float | None = None) -> None:
        self.label = label
        self.started = started
        self._expected_s = expected_s
        self._done = 0.0
        self._total = 0.0

    def advance(self, done: float, total: float) -> None:
        """
        Tell how far the step is.

        Args:
            done: Of the work, in any unit.

            total: All of it, in the same.
        """
        self._done, self._total = done, total

    def draw(self, now: float, columns: int) -> str:
        """
        Write the step as one line.

        Args:
            now: The clock.

            columns: Room that there is.

        Returns:
            The line.
        """
        elapsed_s = max(now - self.started, 0.0)
        done, total = (elapsed_s, self._expected_s) if self._expected_s else (self._done, self._total)
        time_said = to_minutes(elapsed_s)
        if total <= 0:
            mark = _SPINNER[int(elapsed_s / DRAW_EVERY_S) % len(_SPINNER)]
            return _cut(f"{mark} {self.label}", columns - len(time_said) - 1) + f" {time_said}"
        share = min(done / total, 1.0)
        filled = int(share * _BAR_WIDTH)
        bar = f"[{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {share:4.0%} {time_said}"
        if share > 0 and elapsed_s >= WORTH_GUESSING_S:
            bar += f", {to_minutes(elapsed_s * (1 - share) / share)} left"
        return f"{_cut(self.label, columns - len(bar) - 1)} {bar}"


class Progress:
    """
    Tells of steps on a stream.

    Args:
        stream: Where to; None for nowhere.

        clock: Seconds that only grow.
    """

    def __init__(self, stream: TextIO | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._lock = Lock()
        self._is_drawn = is_terminal(stream)
        self._step: Step | None = None
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, label: str, *, expected_s: float | None = None) -> Iterator[Step]:
        """
        Time a step and tell that it starts and that it is done; a step that raises tells nothing more.

        Args:
            label: What the step does, as it stands in the line.

            expected_s: Seconds that it takes, where that is known.

        Yields:
            The step, which may tell how far it is.
        """
        step = Step(label, self._clock(), expected_s)
        if not self._is_drawn:
            self.tell(f"{label} ...")
        with self._drawing(step):
            yield step
        self.seconds[label] = self._clock() - step.started
        self.tell(f"{label}: done in {self.seconds[label]:.1f} s")

    def tell(self, line: str) -> None:
        """
        Write one line, at once.

        Args:
            line: The line, without its newline.
        """
        if self._stream is not None:
            with self._lock:
                self._stream.write(f"{_CLEAR if self._step is not None else ''}{line}\n")
                self._stream.flush()

    @contextmanager
    def _drawing(self, step: Step) -> Iterator[None]:
        """Keep the step's line up to date; only the outer one of two steps has it."""
        if not self._is_drawn or self._step is not None:
            yield
            return
        ended = Event()
        painter = Thread(target=self._paint, args=(step, ended), daemon=True, name="progress")
        self._step = step
        painter.start()
        try:
            yield
        finally:
            ended.set()
            painter.join()
            self._step = None

    def _paint(self, step: Step, ended: Event) -> None:
        while True:
            self._write_over(step.draw(self._clock(), shutil.get_terminal_size().columns - 1))
            if ended.wait(DRAW_EVERY_S):
                self._write_over("")
                return

    def _write_over(self, line: str) -> None:
        if self._stream is not None:
            with self._lock:
                self._stream.write(f"{_CLEAR}{line}")
                self._stream.flush()


def is_terminal(stream: TextIO | None) -> bool:
    """
    See whether a line can be drawn over.

    Args:
        stream: Where to.

    Returns:
        Whether a person watches a terminal that knows how.
    """
    return stream is not None and stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def to_minutes(seconds: float) -> str:
    """
    Say a time shortly.

    Args:
        seconds: The time.

    Returns:
        Such as "42 s" or "3:05 min".
    """
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60}:{whole % 60:02} min"  # noqa: PLR2004  # a minute


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: max(columns - 1, 0)]}…"
