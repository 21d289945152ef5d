"""A growth run for people: one HTML page that needs nothing else, and the tables of docs/capacity.md. Pure."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Any

from tests.load.growth.series import Curve, Figure, Growth, Point, curve_of, describe, judge, pick_values
from tests.load.report import STYLE, describe_run

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT, MARGIN = 420, 200, 46
HOW_TO_READ = (
    "Each figure is the median of the rounds, in brackets the smallest and the largest; rounds in which other programs "
    "took more than 15 % of the machine count only where there is no other. CPU time is of the named program alone, "
    "from /proc, and repeats itself better than wall time does. A cost is flat if no size costs more than 1.25 times "
    "the cheapest smaller one beyond the rounds' spread (2 times where there is one round); it falls where a fixed "
    "cost is shared by more."
)


def from_json(suite: dict[str, Any]) -> Growth:
    """
    Read a suite back.

    Args:
        suite: One of results.json's suites.

    Returns:
        The suite.
    """
    return Growth(
        **{
            **suite,
            "figures": [Figure(**figure) for figure in suite["figures"]],
            "points": [Point(**point) for point in suite["points"]],
        }
    )


def to_html(results: dict[str, Any]) -> str:
    """
    Write the whole report.

    Args:
        results: What results.json holds.

    Returns:
        A page without links to anything.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>triton-facade: how it grows</title>",
        f"<style>{STYLE} .plots {{ display: flex; flex-wrap: wrap; gap: 1em }}</style><h1>How it grows</h1>",
        f"<p>{escape(describe_run(results))}</p><p>{HOW_TO_READ}</p>",
    ]
    for suite in map(from_json, results["suites"]):
        parts.append(f"<h2>{escape(suite.title)}</h2><p>{escape(suite.about)}</p>")
        parts.append("<ul>" + "".join(f"<li>{escape(line)}</li>" for line in verdicts(suite)) + "</ul>")
        headings, rows = to_rows(suite)
        head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
        body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
        parts.append(f"<table><tr>{head}</tr>{body}</table><div class=plots>")
        parts += [
            draw_curve(figure.label, suite.axis, curve)
            for figure in suite.figures
            if (curve := curve_of(suite, figure.key))
        ]
        parts.append("</div>")
        parts += [f"<p>{escape(note)}</p>" for note in suite.notes]
    return "\n".join(parts) + "\n</html>\n"


def to_markdown(results: dict[str, Any]) -> str:
    """
    Write the tables for docs/capacity.md.

    Args:
        results: What results.json holds.

    Returns:
        Markdown.
    """
    lines = [describe_run(results), "", HOW_TO_READ, ""]
    for suite in map(from_json, results["suites"]):
        headings, rows = to_rows(suite)
        lines += [f"### {suite.title}", "", suite.about, ""]
        lines += ["| " + " | ".join(headings) + " |", "| ---: |" + " ---: |" * (len(headings) - 1)]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        lines += ["", *(f"* {line}" for line in [*verdicts(suite), *suite.notes]), ""]
    return "\n".join(lines).rstrip() + "\n"


def verdicts(suite: Growth) -> list[str]:
    """
    Say of each cost whether it stays flat.

    Args:
        suite: What was measured.

    Returns:
        A sentence a cost; those that are flat or fall share one.
    """
    costs = [(figure, curve_of(suite, figure.key)) for figure in suite.figures if figure.is_cost]
    calm = {"flat": [], "falls": []}  # type: dict[str, list[str]]
    bent = []
    for figure, curve in costs:
        if len(curve) < 2:
            continue
        word = judge(curve)
        if word == "bends":
            bent.append(describe(figure, curve))
        else:
            calm[word].append(figure.label)
    said = [f"{word.capitalize()}: {'; '.join(labels)}." for word, labels in calm.items() if labels]
    return said + bent


def to_rows(suite: Growth) -> tuple[list[str], list[list[str]]]:
    """
    Write a suite as a table.

    Args:
        suite: What was measured.

    Returns:
        Headings, and a row a size.
    """
    figures = [figure for figure in suite.figures if curve_of(suite, figure.key)]
    rows = []
    for point in suite.points:
        row = [f"{point.at:,g}"]
        for figure in figures:
            spread = point.spread(figure.key)
            if spread is None:
                row.append("-")
                continue
            numbers = [
                f"{value:,.{figure.decimals}f}" for value in (spread.median, spread.least, spread.most)
            ]
            is_single = len(pick_values(point.rounds, figure.key)) == 1
            row.append(numbers[0] if is_single else f"{numbers[0]} ({numbers[1]}-{numbers[2]})")
        rows.append(row)
    return [suite.axis, *(figure.label for figure in figures)], rows


def draw_curve(label: str, axis: str, curve: Curve) -> str:
    """
    Draw a figure against the size, with a bar from its least to its most; the size is logarithmic.

    Args:
        label: The figure's.

        axis: What grows.

        curve: At least one point.

    Returns:
        An SVG element.
    """
    top = max(spread.most for _, spread in curve) or 1.0
    is_logarithmic = curve[0][0] > 0
    sizes = [math.log(at) if is_logarithmic else at for at, _ in curve]
    span = (sizes[-1] - sizes[0]) or 1.0

    def across(size: float) -> float:
        return MARGIN + (size - sizes[0]) / span * (WIDTH - 2 * MARGIN)

    def up(value: float) -> float:
        return HEIGHT - MARGIN - value / top * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg width="{WIDTH}" height="{HEIGHT}" role="img"><text x="4" y="16">{escape(label)}</text>',
        f'<line x1="{MARGIN}" x2="{WIDTH - MARGIN}" y1="{up(0):.1f}" y2="{up(0):.1f}" stroke="#999"/>',
        f'<text x="{MARGIN - 4}" y="{up(top) + 4:.1f}" text-anchor="end">{top:.3g}</text>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>',
    ]
    line = " ".join(
        f"{across(size):.1f},{up(spread.median):.1f}" for size, (_, spread) in zip(sizes, curve, strict=True)
    )
    parts.append(f'<polyline points="{line}" fill="none" stroke="#1f5fa8" stroke-width="2"/>')
    for size, (at, spread) in zip(sizes, curve, strict=True):
        x = f"{across(size):.1f}"
        parts.append(
            f'<line x1="{x}" x2="{x}" y1="{up(spread.least):.1f}" y2="{up(spread.most):.1f}" stroke="#222"/>'
            f'<circle cx="{x}" cy="{up(spread.median):.1f}" r="3" fill="#1f5fa8"/>'
            f'<text x="{x}" y="{HEIGHT - 26}" text-anchor="middle">{_short(at)}</text>'
        )
    return "".join(parts) + "</svg>"


def _short(at: float) -> str:
    for unit, size in (("M", 1_000_000), ("k", 10_000)):
        if at >= size:
            return f"{at / (1000 if unit == 'k' else size):g}{unit}"
    return f"{at:g}"


def merge(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """
    Put runs of different suites together.

    Args:
        results: What several results.json hold; of a suite that comes twice the last counts.

    Returns:
        As one run, in the first one's environment, each suite with the commit and time of its own run.
    """
    suites: dict[str, Any] = {}
    for one in results:
        made = f"Run at {one['environment']['date']}, commit {one['environment']['commit']}."
        for suite in one["suites"]:
            suites[suite["name"]] = {
                **suite,
                "notes": [note for note in suite["notes"] if note != made] + [made],
            }
    return {"environment": results[0]["environment"], "suites": list(suites.values())}
