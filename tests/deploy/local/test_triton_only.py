"""Triton alone: it says where it is, and ends with whoever started it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from deploy.local.triton import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = [sys.executable, "-m", "deploy.local", "triton", "--repository"]


@pytest.mark.e2e
def test_it_says_where_it_listens_and_ends_with_its_stdin(tmp_path: Path) -> None:
    """Whoever measures needs no port and leaves nothing behind."""
    with subprocess.Popen(
        [*COMMAND, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        where = json.loads(process.stdout.readline())
        ready = httpx.get(f"http://{where['http'].removeprefix('http://')}/v2/health/ready", timeout=10)
        process.stdin.close()
        code = process.wait(timeout=30)

    assert ready.status_code == 200
    assert set(where) == {"grpc", "http", "metrics"}
    assert code == 0


def test_without_a_repository_it_says_what_it_needs() -> None:
    """As every command does."""
    found = subprocess.run(
        COMMAND[:-1], capture_output=True, text=True, cwd=CHECKOUT, check=False, timeout=60
    )

    assert found.returncode == 2
    assert "--repository" in found.stderr
