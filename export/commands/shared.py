"""What all commands print alike: the exit codes in their help, an error as one sentence."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from export.errors import EXIT_CODES, INSTALL_EXTRA, ExportError, ExtraMissing

EPILOG = "\b\nExit codes:\n" + "\n".join(f"  {code}  {meaning}" for code, meaning in EXIT_CODES.items())
"""End of every help text."""

triton_option = click.option(
    "--triton",
    "tritons",
    multiple=True,
    metavar="grpc://HOST:PORT",
    help="Make this running Triton follow, with no failed request; may be given more than once.",
)
"""On every command that can change what a running server serves."""


@contextmanager
def errors_to_exit_codes() -> Iterator[None]:
    """
    End the process with an error's sentence on stderr and its kind's exit code.

    Yields:
        Nothing; holds for the `with` statement.

    Raises:
        SystemExit: If the work in it raised an ExportError, or imports what isn't installed.

        ModuleNotFoundError: If what isn't there is a module of ours.
    """
    try:
        yield
    except ExportError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "export"}:
            raise
        click.echo(f"Error: Missing: {package}. {INSTALL_EXTRA}", err=True)
        sys.exit(ExtraMissing.exit_code)
