"""Clocks that are off, synchronised or not, and years that can't be."""

from __future__ import annotations

import time

import pytest

from facade.doctor.clocks import ClockSeen, examine_clocks, examine_synchronisation


@pytest.mark.parametrize(
    ("ours", "status", "words"),
    [
        (1000.5, "ok", "agrees"),
        (1005.0, "warning", "5.0 s ahead of redis"),
        (995.0, "warning", "5.0 s behind redis"),
        (1000.0 + 3600 * 5, "problem", "5.0 hours ahead of redis"),
        (1000.0 - 86_400 * 400, "problem", "400.0 days behind redis"),
    ],
)
def test_a_difference_is_told_in_words(ours: float, status: str, words: str) -> None:
    """With its direction."""
    *_, found = examine_clocks([ClockSeen("redis", 1000.0, ours)], now=time.time())

    assert (found.status, words in found.found) == (status, True)
    assert (found.status == "ok") == (found.remedy == "")


def test_a_year_that_cannot_be_is_a_problem() -> None:
    """1970 is a board without a battery."""
    first, _, last = examine_clocks([], now=1000.0)

    assert (first.status, "1970-01-01" in first.found) == ("problem", True)
    assert last.status == "skipped"


def test_the_kernel_is_asked() -> None:
    """TIME_ERROR is 5; whatever this machine says is one of the three."""
    assert examine_synchronisation(5).status == "warning"
    assert examine_synchronisation(0).status == "ok"
    assert examine_synchronisation().status in {"ok", "warning", "skipped"}
