"""The growth report: pure, from made-up results."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest

from tests.load import machine
from tests.load.growth import report
from tests.load.growth.series import Figure, Growth, Point


def _results(name: str = "keys", commit: str = "abc1234") -> dict[str, Any]:
    suite = Growth(
        name=name,
        title="Keys & names",
        about="How.",
        axis="keys",
        figures=[
            Figure("cpu_us", "CPU, µs"),
            Figure("mib", "memory, MiB", "It is kept.", 1),
            Figure("rate", "requests/s", is_cost=False),
            Figure("absent", "never measured"),
        ],
        points=[
            Point(10, [{"cpu_us": 100.0, "mib": 1.0, "rate": 9.0}, {"cpu_us": 102.0, "rate": 11.0}]),
            Point(100_000, [{"cpu_us": 101.0, "mib": 8.0, "rate": 1.0}, {"cpu_us": 99.0, "rate": 1.0}]),
        ],
        notes=["A note."],
    )
    return {
        "environment": machine.describe() | {"commit": commit},
        "suites": json.loads(json.dumps([asdict(suite)])),
    }


def test_only_costs_are_judged() -> None:
    """Costs that stay flat share a line, one that bends has its reason, and a rate is no cost."""
    said = report.verdicts(report.from_json(_results()["suites"][0]))

    assert said == [
        "Flat: CPU, µs.",
        (
            "memory, MiB: bends between 10 and 100,000; at the end 8.0 times the cheapest (1.0 at 10, 8.0 at 100,000). "
            "It is kept."
        ),
    ]


def test_tables_show_the_spread_where_there_is_one() -> None:
    """A figure that only one round has stands alone; one that no round has is left out."""
    headings, rows = report.to_rows(report.from_json(_results()["suites"][0]))

    assert headings == ["keys", "CPU, µs", "memory, MiB", "requests/s"]
    assert rows[0] == ["10", "101 (100-102)", "1.0", "10 (9-11)"]


def test_the_page_needs_nothing_else_and_escapes_what_it_shows() -> None:
    """One file without links, with a plot a figure."""
    page = report.to_html(_results())

    assert "Keys &amp; names" in page
    assert page.count("<svg") == 3
    assert "http" not in page.replace("httptools", "")


def test_the_page_has_a_plot_where_a_size_is_nothing() -> None:
    """A share that begins at 0 is drawn along an even scale: it has no logarithm."""
    results = _results()
    results["suites"][0]["points"][0]["at"] = 0

    assert "nan" not in report.to_html(results)


def test_runs_of_single_suites_are_put_together() -> None:
    """The last run of a suite counts, and each suite says which commit it was run at, once."""
    merged = report.merge([_results("keys", "old1"), _results("cache", "old1"), _results("keys", "new2")])
    again = report.merge([merged])

    assert [suite["name"] for suite in merged["suites"]] == ["keys", "cache"]
    assert "new2" in report.to_markdown(merged)
    assert "new2" in report.to_markdown(again)
    assert sum("Run at" in note for note in merged["suites"][0]["notes"]) == 1


@pytest.mark.parametrize(("at", "shown"), [(1, "1"), (2048, "2048"), (100_000, "100k"), (1_000_000, "1M")])
def test_large_sizes_are_written_short(at: float, shown: str) -> None:
    """Labels below a plot don't run into each other."""
    curve = report.curve_of(report.from_json(_results()["suites"][0]), "cpu_us")

    assert f">{shown}<" in report.draw_curve("x", "y", [(at, curve[0][1])])
