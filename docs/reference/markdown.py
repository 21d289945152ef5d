"""The few shapes of Markdown that the pages are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COMMAND = "make reference"
"""What writes the pages."""


def page(title: str, about: str, *parts: str) -> str:
    """
    Put a page together.

    Args:
        title: Its heading.

        about: What it lists and where that is from; a paragraph.

        parts: Sections and paragraphs.

    Returns:
        Markdown.
    """
    origin = f"<!-- Written by `{COMMAND}` from the code. Edit the code's docstrings and tables, and not this page. -->"
    about = f"{about} Written from the code by `{COMMAND}`; a test fails where the two differ."
    return "\n\n".join((origin, f"# {title}", about, *parts)) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    Write a table.

    Args:
        heads: What the columns hold.

        rows: Their cells, in Markdown.

    Returns:
        Markdown, without padding: the width is the reader's.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def anchor(name: str) -> str:
    """Write a place that links can name."""
    return f'<a id="{name.lower()}"></a>'


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", "<br>")
