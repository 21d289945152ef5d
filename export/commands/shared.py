"""What commands have alike: options, exit codes, names that a shell completes, an error as one sentence."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from export.errors import EXIT_CODES, INSTALL_EXTRA, ExportError, ExtraMissing
from export.options import CORE_SUFFIX
from facade.terminal.failures import write_error

Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def exit_codes(*own: int) -> dict[int, str]:
    """
    Choose from the table of exit codes.

    Args:
        own: What a command can end with, beside what any can.

    Returns:
        Meanings by code.
    """
    return {code: meaning for code, meaning in EXIT_CODES.items() if code in {0, 2, *own, 130}}


def complete_name(ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer a shell the names of the repository's models, without their cores."""
    repository = Path(ctx.params.get("repository") or DEFAULT_REPOSITORY)
    names = sorted(config.parent.name for config in repository.glob("*/config.pbtxt"))
    return [
        CompletionItem(name)
        for name in names
        if name.startswith(incomplete) and name.removesuffix(CORE_SUFFIX) not in set(names) - {name}
    ]


def complete_version(
    ctx: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Offer a shell the versions of the model that the line names."""
    repository = Path(ctx.params.get("repository") or DEFAULT_REPOSITORY)
    folders = (repository / str(ctx.params.get("name") or "")).glob("[1-9]*")
    versions = sorted((folder.name for folder in folders if folder.name.isdecimal()), key=int, reverse=True)
    return [CompletionItem(version) for version in versions if version.startswith(incomplete)]


def offer(values: Iterable[str]) -> Completer:
    """
    Make what offers a shell fixed values, where the command itself answers wrong ones better than click does.

    Args:
        values: All of them.

    Returns:
        What `shell_complete` takes.
    """
    known = sorted(values)

    def complete(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
        return [CompletionItem(value) for value in known if value.startswith(incomplete)]

    return complete


DEFAULT_REPOSITORY = Path("model_repository")

repository_option = click.option(
    "--repository",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_REPOSITORY,
    show_default=True,
    is_eager=True,  # known when names of models are completed
    help="Model repository.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print the result on stdout as JSON.")
name_argument = click.argument("name", shell_complete=complete_name)
"""A model of the repository."""

triton_option = click.option(
    "--triton",
    "tritons",
    multiple=True,
    metavar="grpc://HOST:PORT",
    help="A running Triton, which follows; again for more.",
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
        write_error(str(error))
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in {"", "export"}:
            raise
        write_error(f"Missing: {package}. {INSTALL_EXTRA}")
        sys.exit(ExtraMissing.exit_code)
