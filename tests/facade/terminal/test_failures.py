"""Failures in words."""

from __future__ import annotations

import errno

import click
import pytest

from facade.terminal.failures import show_failure, write_warning


@pytest.mark.parametrize(
    ("failure", "code", "words"),
    [
        (click.ClickException("Broken. Mend it."), 1, "Error: Broken. Mend it."),
        (PermissionError(errno.EACCES, "Permission denied", "/secret"), 1, "Run it as a user who may"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/full"),
            1,
            "/full: No space left on device. Check",
        ),
        (OSError(errno.EHOSTUNREACH, "No route to host"), 1, "Check the addresses"),
        (click.Abort(), 130, "Stopped."),
        (KeyboardInterrupt(), 130, "Stopped."),
    ],
)
def test_each_kind_is_a_sentence_with_what_to_do(
    failure: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """On stderr."""
    assert show_failure(failure) == code
    written = capsys.readouterr()
    assert words in written.err
    assert written.out == ""


def test_warnings_go_to_stderr_too(capsys: pytest.CaptureFixture[str]) -> None:
    """So that a script's output stays whole."""
    write_warning("Risky. Look at it.")

    assert capsys.readouterr().err == "Warning: Risky. Look at it.\n"
