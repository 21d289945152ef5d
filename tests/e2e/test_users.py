"""Users by Locust: the steps, and a short run against a real façade."""

from __future__ import annotations

import csv
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.load import machine
from tests.load.users import run_locust
from tests.stack import MODEL_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack import Facade

STEPS = "from tests.load.locustfile import step_users as s; print(s(50, 1000, 6), s(5, 80, 1), s(2, 8, 3))"


def test_users_grow_by_one_factor_from_the_least_to_the_most() -> None:
    """In a process of its own, as Locust changes the standard library under whoever imports it."""
    done = subprocess.run(
        [sys.executable, "-c", STEPS], cwd=machine.CHECKOUT, capture_output=True, text=True, check=True
    )

    assert done.stdout.split("\n")[0] == "[50, 91, 166, 302, 549, 1000] [80] [2, 4, 8]"


@pytest.mark.e2e
def test_a_short_run_asks_a_real_facade_and_tells_right_from_wrong(
    facade: Facade, repository: Path, tmp_path: Path
) -> None:
    """Users of a model that is there end with 0, and four of five of their requests wanted vectors; of none, with 1."""
    tokenizer_file = repository / MODEL_NAME / "1" / "tokenizer.json"
    options = ["--least-users", "5", "--most-users", "20", "--steps", "2"]

    assert run_locust(facade, tokenizer_file, tmp_path, [*options, "--minutes", "0.15"]) == 0
    rows = list(csv.DictReader((tmp_path / "locust_stats.csv").read_text(encoding="utf-8").splitlines()))
    asked = {row["Name"]: int(row["Request Count"]) for row in rows}
    assert asked["/v1/embeddings"] > 0.6 * asked["Aggregated"] > 0
    assert asked["/v1/models"] > 0
    assert all(row["Failure Count"] == "0" for row in rows)

    assert (
        run_locust(facade, tokenizer_file, tmp_path, [*options, "--minutes", "0.05", "--model", "no-such"])
        == 1
    )
