"""The keys: files that don't hold, keys that end, what matches nothing."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from facade.access.keys import to_digest
from facade.doctor.api_keys import examine_keys

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from facade.doctor.finding import Finding


def write_keys(path: Path, *keys: str, tiers: str = "  free: {}\n") -> Path:
    """Write a keys file that only its owner may read."""
    rows = [
        f"  - {{name: k{i}, sha256: {to_digest(str(i)).hex()}, tier: free{key}}}\n"
        for i, key in enumerate(keys)
    ]
    path.write_text(f"tiers:\n{tiers}keys:\n{''.join(rows)}" if rows else f"tiers:\n{tiers}keys: []\n")
    path.chmod(0o600)
    return path


def examine(path: Path, served: Collection[str] | None = ("minilm",)) -> dict[str, Finding]:
    """Give the findings by check."""
    return {finding.check: finding for finding in examine_keys(path, None, served=served, now=time.time())}


def in_days(days: float) -> str:
    """Write a key's end."""
    return f', expires: "{datetime.now(UTC) + timedelta(days=days):%Y-%m-%dT%H:%M:%SZ}"'


def test_good_keys_are_counted(tmp_path: Path) -> None:
    """No warnings."""
    found = examine(write_keys(tmp_path / "keys.yaml", "", in_days(100)))

    assert {one.status for one in found.values()} == {"ok"}
    assert found["keys"].found == "2 in force, 1 tier"


def test_ended_keys_and_keys_that_end_soon_are_named(tmp_path: Path) -> None:
    """With their day."""
    found = examine(write_keys(tmp_path / "keys.yaml", in_days(-1), in_days(3), ""))

    assert (found["expired"].status, found["expired"].found[:3]) == ("warning", "k0 ")
    assert (found["ends soon"].status, found["ends soon"].found[:3]) == ("warning", "k1 ")
    assert found["keys"].found == "2 in force, 1 tier"


@pytest.mark.parametrize("keys", [(), (in_days(-1),)])
def test_no_key_in_force_is_a_problem(tmp_path: Path, keys: tuple[str, ...]) -> None:
    """Nobody can call."""
    found = examine(write_keys(tmp_path / "keys.yaml", *keys))

    assert (found["keys"].status, "keys new" in found["keys"].remedy) == ("problem", True)


def test_unused_tiers_and_globs_that_match_nothing(tmp_path: Path) -> None:
    """Told once a glob, with whose it is; unknown while Triton is away."""
    path = write_keys(
        tmp_path / "keys.yaml",
        ", models: [minilm, chat*]",
        ", models: [chat*]",
        tiers="  free: {}\n  gold: {}\n",
    )
    found = examine(path)

    assert found["tiers"].found == "no key has: gold"
    assert found["models"].found == "'chat*' matches nothing served; it is in the key of k0, k1"
    assert examine(path, None)["models"].status == "skipped"


def test_a_file_that_all_may_read_is_a_warning(tmp_path: Path) -> None:
    """The remedy is the command."""
    path = write_keys(tmp_path / "keys.yaml", "")
    path.chmod(0o644)
    found = examine(path)[str(path)]

    assert (found.status, f"`chmod 640 {path}`" in found.remedy) == ("warning", True)
    assert "everybody on this machine may read it" in found.found


def test_a_wrong_file_and_no_file_are_problems(tmp_path: Path) -> None:
    """The first names what is wrong, the second how to make one."""
    path = write_keys(tmp_path / "keys.yaml", ", scopes: [gold]")
    wrong = examine_keys(path, None, served=None, now=0)[-1]
    absent = examine_keys(tmp_path / "absent", None, served=None, now=0)[0]

    assert (wrong.status, "scopes" in wrong.found) == ("problem", True)
    assert (absent.status, "keys new" in absent.remedy) == ("problem", True)


@pytest.mark.parametrize(("key", "status"), [("hunter2", "warning"), ("x" * 43, "ok"), (None, "skipped")])
def test_the_one_key_is_judged_by_its_length_and_not_shown(key: str | None, status: str) -> None:
    """A short one can be guessed."""
    (found,) = examine_keys(None, key, served=None, now=0)

    assert found.status == status
    assert key is None or key not in found.found + found.remedy
