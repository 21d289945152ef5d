"""Write the pages: ``python -m docs.reference``; ``--check`` only says which differ from what the code gives."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from docs.reference import api_page, commands_page, errors_page, metrics_page, settings_page
from docs.reference.markdown import COMMAND

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FOLDER = Path(__file__).parent

PAGES: Mapping[str, Callable[[], str]] = {
    "settings.md": settings_page.write,
    "metrics.md": metrics_page.write,
    "errors.md": errors_page.write,
    "api.md": api_page.write,
    "openapi.json": api_page.write_document,
    "commands.md": commands_page.write,
}
"""What writes each file."""


def find_stale(folder: Path = FOLDER) -> list[str]:
    """
    Compare the pages with what the code gives.

    Args:
        folder: Where they are.

    Returns:
        Names of those that differ or are missing.
    """
    return [
        name
        for name, write in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text() != write()
    ]


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """
    Write the pages, or compare them.

    Args:
        arguments: ``--check`` or nothing.

        folder: Where the pages are.

    Returns:
        Exit code: 1 where a page differs.
    """
    if arguments != ["--check"]:
        for name, write in PAGES.items():
            (folder / name).write_text(write())
        return 0
    stale = find_stale(folder)
    if stale:
        sys.stderr.write(f"{', '.join(stale)}: not what the code gives; run: {COMMAND}\n")
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
