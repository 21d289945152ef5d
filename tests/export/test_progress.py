"""Progress lines."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from export.progress import Progress, Step
from tests.facade.terminal.pseudo import run_in_terminal


def test_a_step_tells_its_start_and_its_seconds() -> None:
    """A line when the step starts, one with the elapsed seconds when it is done."""
    stream = io.StringIO()
    ticks = iter([10.0, 12.34])
    progress = Progress(stream, clock=lambda: next(ticks))
    with progress.step("Converting"):
        assert stream.getvalue() == "Converting ...\n"
    assert stream.getvalue() == "Converting ...\nConverting: done in 2.3 s\n"
    assert progress.seconds == {"Converting": pytest.approx(2.34)}


def test_a_failed_step_is_not_done() -> None:
    """A step that raises isn't told as done."""
    stream = io.StringIO()
    with pytest.raises(KeyError), Progress(stream).step("Converting"):
        raise KeyError
    assert stream.getvalue() == "Converting ...\n"


def test_progress_without_a_stream_is_silent() -> None:
    """With no stream the seconds are still kept."""
    progress = Progress(None)
    with progress.step("quiet"):
        pass
    assert set(progress.seconds) == {"quiet"}


@pytest.mark.parametrize(
    ("expected_s", "done", "now", "line"),
    [
        (None, (0, 0), 0.2, "/ Hashing 0 s"),
        (None, (1, 4), 1.0, "Hashing [#####---------------]  25% 1 s"),
        (None, (1, 4), 30.0, "Hashing [#####---------------]  25% 30 s, 1:30 min left"),
        (100.0, (0, 0), 50.0, "Hashing [##########----------]  50% 50 s, 50 s left"),
        (100.0, (0, 0), 150.0, "Hashing [####################] 100% 2:30 min, 0 s left"),
    ],
)
def test_a_step_draws_how_far_it_is(
    expected_s: float | None, done: tuple[int, int], now: float, line: str
) -> None:
    """By its work, or by its time; without either only the time goes by."""
    step = Step("Hashing", 0.0, expected_s)
    step.advance(*done)

    assert step.draw(now, 79) == line


def test_a_long_label_is_cut_to_the_terminal() -> None:
    """A line that wraps couldn't be drawn over."""
    step = Step("Converting " + "x" * 200, 0.0)
    assert len(step.draw(1.0, 40)) == 40
    step.advance(1, 2)
    assert len(step.draw(9.0, 60)) == 60


STEPS = """
import sys, time
from export.progress import Progress
progress = Progress(sys.stderr)
with progress.step("Reading") as step:
    for done in range(8):
        step.advance(done, 8)
        time.sleep(0.1)  # a step that takes its time
    progress.tell("A note.")
"""


def test_a_terminal_sees_a_bar_that_is_drawn_over(tmp_path: Path) -> None:
    """A note stands above it, and at the end the line is gone."""
    (tmp_path / "steps.py").write_text(STEPS)
    shown = run_in_terminal("steps", PYTHONPATH=f"{tmp_path}:{Path.cwd()}", COLUMNS="80")

    assert "\r\x1b[KReading [#" in shown
    assert "\x1b[KA note.\r\n" in shown
    assert "\r\x1b[KReading: done in " in shown.rpartition("left")[2]
    assert "Reading ..." not in shown


@pytest.mark.parametrize("terminal", ["pipe", "dumb"])
def test_elsewhere_there_are_plain_lines(tmp_path: Path, terminal: str) -> None:
    """No escape codes, in a pipe or on a terminal without them."""
    (tmp_path / "steps.py").write_text(STEPS)
    path = f"{tmp_path}:{Path.cwd()}"
    if terminal == "dumb":
        shown = run_in_terminal("steps", PYTHONPATH=path, TERM="dumb").splitlines()
    else:
        environment = {**os.environ, "PYTHONPATH": path}
        ended = subprocess.run(
            [sys.executable, "-m", "steps"], capture_output=True, text=True, check=True, env=environment
        )
        shown = ended.stderr.splitlines()

    assert shown[:2] == ["Reading ...", "A note."]
    assert shown[2].startswith("Reading: done in ")
