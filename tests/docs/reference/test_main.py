"""The pages in the checkout are what the code gives."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from docs.reference import __main__ as reference
from docs.reference.markdown import COMMAND

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_pages_are_current() -> None:
    """Whoever changes a setting, a metric, an error, a route or a help text writes the pages anew."""
    assert reference.find_stale() == [], f"run: {COMMAND}"


def test_a_page_that_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that somebody edited by hand, and one that is missing."""
    folder = tmp_path / "reference"
    shutil.copytree(reference.FOLDER, folder)
    with (folder / "errors.md").open("a") as page:
        page.write("By hand.\n")
    (folder / "metrics.md").unlink()

    assert reference.main(["--check"], folder) == 1
    assert capsys.readouterr().err == f"metrics.md, errors.md: not what the code gives; run: {COMMAND}\n"


def test_pages_are_written(tmp_path: Path) -> None:
    """What is written is what is compared."""
    assert reference.main([], tmp_path) == 0
    assert reference.main(["--check"], tmp_path) == 0
