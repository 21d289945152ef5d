"""One step of the installation: its log, its progress, its end."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from deploy.local.steps import StepFailed, run_step, tail

if TYPE_CHECKING:
    from pathlib import Path


def run(folder: Path, code: str, *, relays: bool = False) -> list[str]:
    """Run a piece of Python as a step and return what was said."""
    said: list[str] = []
    run_step(
        "counting",
        [sys.executable, "-c", code],
        log=folder / "logs" / "step.log",
        folder=folder,
        say=said.append,
        remedy="Count again.",
        relays=relays,
    )
    return said


def test_a_step_says_when_it_begins_and_when_it_is_done(tmp_path: Path) -> None:
    """Its output goes to the log."""
    said = run(tmp_path, "print('one')")

    assert said[0] == "counting ..."
    assert said[-1].startswith("  done in ")
    assert "one" in (tmp_path / "logs" / "step.log").read_text()


def test_a_relayed_step_shows_every_line(tmp_path: Path) -> None:
    """Both its streams are progress, in order."""
    said = run(tmp_path, "import sys; print('one', file=sys.stderr, flush=True); print('two')", relays=True)

    assert said[1:3] == ["  one", "  two"]


def test_a_failed_step_names_itself_its_log_and_the_remedy(tmp_path: Path) -> None:
    """What an earlier step wrote to the same log is left out."""
    run(tmp_path, "print('all is well')")

    with pytest.raises(StepFailed) as caught:
        run(tmp_path, "print('no more fingers'); raise SystemExit(3)")

    text = str(caught.value)
    assert "counting failed" in text
    assert "exit code 3" in text
    assert "  | no more fingers" in text
    assert "all is well" not in text
    assert str(tmp_path / "logs" / "step.log") in text
    assert text.endswith("Count again.")


def test_a_step_that_is_left_is_ended(tmp_path: Path) -> None:
    """An exception in the middle, such as Ctrl-C, leaves no process behind."""

    class EnoughError(Exception):
        pass

    def refuse(line: str) -> None:
        if line == "  started":
            raise EnoughError

    code = "import signal, sys; print('started', flush=True); signal.pause()"
    with pytest.raises(EnoughError):
        run_step(
            "waiting",
            [sys.executable, "-c", code],
            log=tmp_path / "step.log",
            folder=tmp_path,
            say=refuse,
            remedy="",
            relays=True,
        )


def test_steps_are_not_led_to_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PYTHONPATH and the like stay outside, pip's own settings come along."""
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_RETRIES", "7")

    said = run(
        tmp_path, "import os; print(os.environ.get('PYTHONPATH'), os.environ['PIP_RETRIES'])", relays=True
    )

    assert said[1] == "  None 7"


def test_the_tail_of_a_missing_log_is_a_remark(tmp_path: Path) -> None:
    """A part that died before it could write anything is no second failure."""
    assert tail(tmp_path / "none.log") == "  | (nothing was written)"
