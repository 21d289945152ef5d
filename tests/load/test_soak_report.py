"""Drift of memory, as a figure, a table and a picture. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.load.soak_report import Sample, drift_of, growth_of, summarise, to_svg


def _samples(*rss_mib: float) -> list[Sample]:
    return [Sample(30.0 * number, {"a": mib}) for number, mib in enumerate(rss_mib)]


@pytest.mark.parametrize(
    ("later", "is_flat", "share"),
    [((100, 104, 100), True, 0.04), ((100, 106, 100), False, 0.06), ((100, 100, 94), False, 0.06)],
)
def test_drift_counts_both_ways_and_after_the_first_minute_only(
    later: tuple[float, ...], share: float, *, is_flat: bool
) -> None:
    """Growth and shrinking count alike, from the first sample after the warm-up on."""
    drift = drift_of(_samples(50, 60, *later), "a", 60)

    assert drift.first_mib == 100
    assert drift.share == pytest.approx(share)
    assert drift.is_flat is is_flat


def _results() -> dict[str, Any]:
    samples = _samples(50, 60, 100, 106)
    return {
        "seconds": 90.0,
        "answered": 9,
        "failures": 0,
        "cache_memory_bytes": 1000,
        "samples": [asdict(sample) for sample in samples],
        "drift": {"a": asdict(drift_of(samples, "a", 60))},
        "growth": {"threads": {"early": 10, "late": 30, "is_flat": False}},
    }


@pytest.mark.parametrize(("late", "is_flat"), [(100, True), (109, True), (110, False)])
def test_counts_may_move_but_not_grow(late: int, *, is_flat: bool) -> None:
    """The largest count of the last fifth is compared with that of the first, with a little room."""
    values = [5, 100, 20, 90, 30, 95, 40, 95, late, 10]
    samples = [Sample(60.0 + number, {}, {"threads": value}) for number, value in enumerate(values)]
    assert growth_of(samples, "threads", 60).is_flat is is_flat


def test_the_table_says_what_was_missed() -> None:
    """A program that grew by 6 % missed the goal, and so did threads that tripled."""
    assert "| threads | 10 | 30 | missed |" in summarise(_results())
    assert "| a | 100.0 | 100.0 | 106.0 | 106.0 | 6.0% | missed |" in summarise(_results())


def test_the_picture_is_well_formed_and_stays_inside() -> None:
    """It parses as XML, and every point of a curve lies within the picture."""
    root = ET.fromstring(to_svg(_results()))  # noqa: S314  # written here
    points = [
        tuple(map(float, point.split(",")))
        for line in root.iter("{http://www.w3.org/2000/svg}polyline")
        for point in line.attrib["points"].split()
    ]

    assert len(points) == 8
    assert all(0 <= x <= 760 and 0 <= y <= 320 for x, y in points)
