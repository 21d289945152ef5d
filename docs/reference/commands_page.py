"""Every command's own help, at a fixed width."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from docs.reference.markdown import page
from export.cli import main as export
from facade.__main__ import main as facade

if TYPE_CHECKING:
    from collections.abc import Iterator

WIDTH = 100
"""Columns of a help text."""

PROGRAMS = {"triton-facade": facade, "triton-export": export}


def write() -> str:
    """
    Write the page.

    Returns:
        Markdown.
    """
    helps = {path: text for name, program in PROGRAMS.items() for path, text in _helps(program, name)}
    links = "\n".join(f"{'  ' * path.count(' ')}- [`{path}`](#{path.replace(' ', '-')})" for path in helps)
    sections = [f"## {path}\n\n```text\n{text}\n```" for path, text in helps.items()]
    return page("Commands", "What each command's `--help` says.", links, *sections)


def _helps(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, str]]:
    """Give a command's help and those of the commands below it, by their full names."""
    # Both: `max_content_width` counts for groups' contexts made below, `terminal_width` for this one.
    context = click.Context(
        command,
        info_name=name,
        parent=parent,
        terminal_width=WIDTH,
        max_content_width=WIDTH,
        **command.context_settings,
    )
    # A hidden command has its reasons.
    if command.hidden:
        return
    with context:
        yield context.command_path, "\n".join(map(str.rstrip, command.get_help(context).splitlines()))
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            found = command.get_command(context, below)
            if found is not None:
                yield from _helps(found, below, context)
