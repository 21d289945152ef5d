"""`triton-facade doctor`, run as its user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from facade.commands.doctor import doctor, summarise
from tests.facade.doctor.small_repository import write_repository
from tests.facade.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    return write_repository(tmp_path)


def run(repository: Path, *arguments: str, **environment: str) -> Result:
    """Run it, with no Triton to be found."""
    environment = {"FACADE_API_KEY": "k" * 40, "FACADE_TRITON_URL": f"127.0.0.1:{free_port()}", **environment}
    return CliRunner().invoke(doctor, ["--repository", str(repository), *arguments], env=environment)


def test_a_problem_is_exit_code_1_and_says_what_to_do(repository: Path) -> None:
    """Grouped, no escape codes in a pipe, a summary at the end."""
    result = run(repository)

    assert result.exit_code == 1
    assert "\ntriton\n  PROBLEM 127.0.0.1:" in result.output
    assert "→ Start Triton, or correct FACADE_TRITON_URL" in result.output
    assert result.output.splitlines()[-1].startswith("1 problem")
    assert "\x1b" not in result.output


def test_json_is_one_object(repository: Path) -> None:
    """Each finding has its five fields."""
    result = run(repository, "--json")
    said = json.loads(result.stdout)

    assert (result.exit_code, said["ok"]) == (1, False)
    assert said["counts"]["problem"] == 1
    assert {tuple(finding) for finding in said["findings"]} == {
        ("subject", "check", "status", "found", "remedy")
    }


def test_lines_fit_the_screen(repository: Path) -> None:
    """Eighty columns, but for what can't be cut, such as a path."""
    result = run(repository, COLUMNS="80", FACADE_HOST="0.0.0.0", FACADE_WORKERS="x")

    assert max(len(line) for line in result.output.splitlines() if "/" not in line) <= 80


def test_wrong_usage_is_exit_code_2(repository: Path) -> None:
    """As everywhere."""
    assert run(repository, "--timeout", "0").exit_code == 2


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        (
            {"problem": 0, "warning": 0, "ok": 3, "skipped": 1},
            "Nothing is wrong; 3 things looked at, 1 skipped.",
        ),
        (
            {"problem": 2, "warning": 1, "ok": 0, "skipped": 0},
            "2 problems, 1 warning; 3 things looked at, 0 skipped.",
        ),
    ],
)
def test_the_last_line_sums_up(counts: dict[str, int], words: str) -> None:
    """In words."""
    assert summarise(counts) == words
