"""
The classes that commands are made of.

Help fits a screen: it uses up to 100 columns, options stand under headings, examples and exit codes end it. Exit codes
are in one paragraph, because a line each would push the options off the screen.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from facade.terminal.colours import choose_colour
from facade.terminal.failures import show_failure

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

WIDEST = 100
"""Columns that help uses at most; longer lines are hard to read."""

OPTIONS = "Options"
"""Heading of a command's options where they are few."""


class _ShortHelp(click.Command):
    """Answers to -h too, in a program and alone: click keeps the names that the first context had."""

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # the same in all
        """Give both names."""
        return ["-h", "--help"]


class Command(_ShortHelp):
    """
    A command whose help ends with examples and exit codes.

    Args:
        args: As for `click.Command`.

        headings: Names of parameters by the heading that they stand under; the others, such as --help, stand under
            the last. None: all stand under `OPTIONS`.

        examples: Command lines that work.

        exit_codes: What each code means.

        extra: As for `click.Command`.
    """

    def __init__(
        self,
        *args: Any,
        headings: Mapping[str, Sequence[str]] | None = None,
        examples: Sequence[str] = (),
        exit_codes: Mapping[int, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(*args, **extra)
        self.headings = dict(headings or {})
        self.examples = tuple(examples)
        self.exit_codes = dict(exit_codes or {})

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write options under their headings."""
        heading_of = {name: heading for heading, names in self.headings.items() for name in names}
        last = next(reversed(self.headings), OPTIONS)
        records: dict[str, list[tuple[str, str]]] = {heading: [] for heading in self.headings or [OPTIONS]}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is not None and not isinstance(param, click.Argument):
                records[heading_of.get(param.name or "", last)].append(record)
        for heading, rows in records.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples and exit codes."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples" if len(self.examples) > 1 else "Example"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")
        if self.exit_codes:
            with formatter.section("Exit codes"):
                formatter.write_text(
                    "; ".join(f"{code} {meaning}" for code, meaning in self.exit_codes.items())
                )


class Group(_ShortHelp, click.Group):
    """A group of such commands."""

    command_class = Command


class Program(Group):
    """A whole program: chooses width and colours, and shows whatever ends it."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Begin with this program's width and colours, which the commands below inherit."""
        settings: dict[str, Any] = {"max_content_width": WIDEST, "color": choose_colour()}
        return super().make_context(info_name, args, parent, **(settings | extra))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run, and end the process with the exit code that fits."""
        run: Callable[..., Any] = super().main
        if not extra.pop("standalone_mode", True):
            return run(*args, **extra, standalone_mode=False)
        try:
            code = run(*args, **extra, standalone_mode=False)
        except SystemExit:
            raise
        except BaseException as failure:  # noqa: BLE001  # whatever it is, nobody gets a traceback
            sys.exit(show_failure(failure))
        sys.exit(code if isinstance(code, int) else 0)


def command(name: str | None = None, **extra: Any) -> Callable[[Callable[..., Any]], Command]:
    """
    Make a command of a function; as `click.command`.

    Args:
        name: Its name; None for the function's.

        extra: As for `Command`.

    Returns:
        The decorator.
    """
    return click.command(name, cls=Command, **extra)
