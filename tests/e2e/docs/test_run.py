"""Every command and program that pages show runs, against a real stack, and prints what they show."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.docs.pages import PAGES, find_blocks

if TYPE_CHECKING:
    from tests.e2e.docs.running import Terminal

pytestmark = pytest.mark.e2e

TRANSLATED = "README.zh.md"
"""Its blocks are those of README.md (test_pages.py), which are run once."""

NEEDED = {
    "docs/getting-started.md": ("prometheus", "promtool"),
    "docs/production.md": ("redis-server", "promtool"),
    "docs/recipes/envoy.md": ("envoy", "openssl"),
    "docs/recipes/nginx.md": ("nginx", "openssl", "ss"),
}
"""Programs that pages start: Debian's (.ci/run), and Envoy (the extra `deploy`)."""

RUNNABLE = [page for page in PAGES if page != TRANSLATED and any(block.is_run for block in find_blocks(page))]


@pytest.mark.parametrize("page", RUNNABLE)
def test_a_page_runs(page: str, terminal: Terminal) -> None:
    """From its first block to its last, each with the exit code 0 and the output that is shown."""
    for program in NEEDED.get(page, ()):
        if (
            shutil.which(program, path=f"{Path(sys.executable).parent}:{os.environ['PATH']}:/usr/sbin")
            is None
        ):
            pytest.skip(f"{program} is not installed")
    for block in find_blocks(page):
        if block.is_run:
            terminal.run(block)
