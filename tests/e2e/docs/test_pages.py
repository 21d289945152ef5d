"""Every block has a language and is right in it, every link leads somewhere, both READMEs say the same."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.e2e.docs.pages import CHECKOUT, PAGES, RUN, anchors, find_blocks, links, without_comments
from tests.e2e.docs.syntax import SYNTAX

SCRIPTS = CHECKOUT / "tests" / "clients" / "scripts"


@pytest.mark.parametrize("page", PAGES)
def test_blocks_are_right_in_their_language(page: str) -> None:
    """A block without a language, or with one that nothing here reads, is wrong."""
    for block in find_blocks(page):
        assert block.language in SYNTAX, (
            f"{block.where}: the language {block.language!r} is none of {list(SYNTAX)}"
        )
        # Programs' own help has their own commands in it.
        if block.is_output or (block.language == "text" and page.startswith("docs/reference/")):
            continue
        try:
            SYNTAX[block.language](block.text)
        except subprocess.CalledProcessError as failure:
            pytest.fail(f"{block.where}: {failure.stderr}")
        except Exception as failure:  # noqa: BLE001  # each tool has its own
            pytest.fail(f"{block.where}: {failure!r}")


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """To a file of this checkout, and to a heading that it has."""
    for line, target in links(page):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        path = (CHECKOUT / page).parent / unquote(parts.path) if parts.path else CHECKOUT / page
        assert path.exists(), f"{page}:{line}: {target} leads nowhere"
        assert path.resolve().is_relative_to(CHECKOUT), f"{page}:{line}: {target} leads out of the checkout"
        if parts.fragment and path.suffix == ".md":
            found = anchors(str(path.resolve().relative_to(CHECKOUT)))
            assert unquote(parts.fragment) in found, f"{page}:{line}: {target} has no such heading"


def test_the_pages_are_found() -> None:
    """Pages that vanish from the list would pass unseen."""
    assert {"README.md", "README.zh.md", "docs/clients.md", "model_repository/README.md"} <= set(PAGES)
    assert len([block for page in PAGES for block in find_blocks(page) if block.is_run]) >= 15


def test_both_readmes_have_the_same_blocks() -> None:
    """In the same order, but for comments; each page leads to the other."""
    ours, theirs = (
        [(block.language, block.mark, without_comments(block.text)) for block in find_blocks(page)]
        for page in ("README.md", "README.zh.md")
    )

    assert ours == theirs
    assert "README.zh.md" in [target for _, target in links("README.md")]
    assert "README.md" in [target for _, target in links("README.zh.md")]


def test_what_only_the_clients_suite_runs_stands_in_its_scripts() -> None:
    """Each statement of such a block, whatever lines it is broken into, is a statement of a script."""
    scripts = squeeze("".join(path.read_text() for path in SCRIPTS.iterdir() if path.is_file()))
    blocks = [block for page in PAGES for block in find_blocks(page) if block.mark == "test-clients"]

    assert blocks
    for block in blocks:
        for statement in split_statements(block.text):
            assert squeeze(statement) in scripts, f"{block.where}: no script has\n{statement}"


def split_statements(text: str) -> list[str]:
    """Cut a program where a line begins at the margin with something other than a closing bracket."""
    return [part for part in re.split(r"\n(?=[^\s)\]}])", without_comments(text)) if part.strip()]


def squeeze(text: str) -> str:
    """Drop all that formatting changes."""
    return re.sub(r"\s|,(?=\s*[)\]}])", "", without_comments(text))


def test_every_page_is_reached_from_the_index() -> None:
    """A page that no index names isn't found by who needs it."""
    named = {
        ((CHECKOUT / "docs") / urlsplit(target).path).resolve()
        for _, target in links("docs/README.md")
        if not urlsplit(target).scheme
    }
    expected = {
        path.resolve() for folder in ("docs", "docs/recipes") for path in CHECKOUT.glob(f"{folder}/*.md")
    }

    assert expected - {Path(CHECKOUT / "docs" / "README.md").resolve()} <= named


def test_marked_languages_are_runnable_ones() -> None:
    """A mark above a block that is never run anyway says nothing, and hides a mistake."""
    assert not [
        block.where
        for page in PAGES
        for block in find_blocks(page)
        if block.mark is not None and block.language not in RUN | {"yaml"}
    ]
