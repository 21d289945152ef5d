"""Every command and program in the README does what it is shown to do, against the running stack."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.conftest import KEY

if TYPE_CHECKING:
    from deploy.local.triton import TritonServer
    from tests.e2e.conftest import Facade

pytestmark = pytest.mark.e2e

CHECKOUT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?P<language>sh|python)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_HERE = ("make serve", "make test")
"""Whole installations; the tests of `make serve` and this very run are their tests."""


def blocks(name: str) -> list[tuple[str, str]]:
    """Find a page's commands and programs."""
    return [(found["language"], found["text"]) for found in BLOCK.finditer((CHECKOUT / name).read_text())]


PAGES = [
    (page, number)
    for page in ("README.md", "docs/callers.md", "docs/clients.md", "docs/grpc.md")
    for number in range(len(blocks(page)))
]


def test_there_is_something_to_check() -> None:
    """A page whose blocks changed their fences would pass unseen."""
    assert len(PAGES) >= 6


@pytest.mark.parametrize(("page", "number"), PAGES)
def test_a_block_runs(page: str, number: int, facade: Facade, triton: TritonServer) -> None:
    """Each block exits with 0 and prints no error."""
    language, text = blocks(page)[number]
    if any(text.startswith(command) for command in NOT_HERE):
        assert all(line.startswith(NOT_HERE) for line in text.splitlines())
        return
    text = text.replace("http://127.0.0.1:8080", facade.url).replace("127.0.0.1:8001", triton.grpc_url)
    text = text.replace("curl -s ", "curl -s --fail-with-body --show-error ").replace(
        ".venv/bin", str(Path(sys.executable).parent)
    )
    command = ["bash", "-euo", "pipefail", "-c", text] if language == "sh" else [sys.executable, "-c", text]

    done = subprocess.run(
        command, env={**os.environ, "API_KEY": KEY}, capture_output=True, text=True, timeout=120, check=False
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
