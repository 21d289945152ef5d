"""How a command that failed ends: a sentence on stderr, an exit code, and never a traceback."""

from __future__ import annotations

import os
import traceback

import click

from facade.terminal.colours import choose_colour

EXIT_FAILED = 1
EXIT_BUG = 70
"""EX_SOFTWARE of BSD's sysexits.h: the program is wrong, and not how it was called."""

EXIT_INTERRUPTED = 130
"""What a shell says of a process that SIGINT ended: 128 + 2."""

TRACEBACK_VARIABLE = "FULL_TRACEBACK"
"""Environment variable: set, a bug is shown whole."""


def write_error(message: str) -> None:
    """
    Write an error to stderr.

    Args:
        message: What happened, and what to do.
    """
    _write("Error:", "red", message)


def write_warning(message: str) -> None:
    """
    Write a warning to stderr.

    Args:
        message: What is risky, and what to do.
    """
    _write("Warning:", "yellow", message)


def _write(word: str, colour: str, message: str) -> None:
    click.echo(f"{click.style(word, fg=colour, bold=True)} {message}", err=True, color=choose_colour())


def show_failure(failure: BaseException) -> int:
    """
    Tell a failure to the person at the terminal.

    Args:
        failure: What ended a command.

    Returns:
        The exit code.
    """
    if isinstance(failure, click.exceptions.NoArgsIsHelpError):
        failure.show()
        return failure.exit_code
    if isinstance(failure, click.ClickException):
        if isinstance(failure, click.UsageError) and failure.ctx is not None:
            click.echo(failure.ctx.get_usage(), err=True)
            click.echo(f"Try '{failure.ctx.command_path} --help' for help.\n", err=True)
        write_error(failure.format_message())
        return failure.exit_code
    if isinstance(failure, click.Abort | KeyboardInterrupt):
        click.echo("Stopped.", err=True)
        return EXIT_INTERRUPTED
    if isinstance(failure, OSError):
        write_error(_explain_os_error(failure))
        return EXIT_FAILED
    if os.environ.get(TRACEBACK_VARIABLE):
        click.echo("".join(traceback.format_exception(failure)), err=True, nl=False)
    place = traceback.extract_tb(failure.__traceback__)[-1]
    said = " ".join(str(failure).split()) or "no message"
    write_error(
        f"{type(failure).__name__}: {said} (at {place.filename}:{place.lineno}). This is a bug: please report it "
        f"with the command, run again with {TRACEBACK_VARIABLE}=1."
    )
    return EXIT_BUG


def _explain_os_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    if error.filename is None:
        return f"{reason}. Check the addresses and paths that the command was given."
    name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else str(error.filename)
    if isinstance(error, FileNotFoundError):
        return f"{name}: {reason}. Check the path."
    if isinstance(error, PermissionError):
        return f"{name}: {reason}. Run it as a user who may, or change the permissions."
    return f"{name}: {reason}. Check the path, its permissions and the free space."
