"""
Results for people: one HTML file that needs nothing else, and the tables of docs/benchmarks.md.

Pure functions of what is in results.json.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from tests.load.plots import draw_bars, draw_curves
from tests.load.rounds import Spread, percentile, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

FIGURES = (
    ("texts_per_s", "texts/s", 0),
    ("p50_ms", "p50, ms", 0),
    ("p99_ms", "p99, ms", 0),
    ("offered_per_s", "texts/s offered", 0),
    ("requests_per_s", "requests/s", 0),
    ("others_p99_ms", "p99 of other calls, ms", 0),
    ("refused_share", "refused", 2),
    ("unanswered", "never answered", 0),
    ("door_batch", "texts a door batch", 1),
    ("core_batch", "texts a core batch", 1),
    ("useful_share", "useful ÷ padded tokens", 3),
)
"""Figures of a contender: key, heading, decimals."""

PROGRAMS = ("facade", "triton", "peer", "model", "generator")
"""Programs whose CPU time is shown."""

HOW_TO_READ = (
    "Absolute figures hold for this machine and this hour; ratios of one run travel better. "
    "Medians, and in brackets the smallest and the largest round."
)

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
td, th { border-bottom: 1px solid #ddd; padding: .25em .7em; text-align: right }
td:first-child, th:first-child { text-align: left }
.reached { color: #176f2c } .missed { color: #b3261e }
svg text { font: 13px system-ui, sans-serif; fill: #222 }
"""


def to_html(results: dict[str, Any]) -> str:
    """
    Write the whole report.

    Args:
        results: What results.json holds.

    Returns:
        A page without links to anything.
    """
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>triton-facade: benchmark</title>",
        f"<style>{STYLE}</style><h1>Benchmark</h1><p>{escape(describe_run(results))}</p>",
        f"<p>{HOW_TO_READ}</p>",
    ]
    for suite in results["suites"]:
        parts.append(f"<h2>{escape(suite['title'])}</h2><p>{escape(suite['about'])}</p>")
        if suite["goals"]:
            parts.append(_to_html_table(("figure", "goal", "measured", ""), goal_rows(suite)))
        if suite["rounds"]:
            parts.append(_to_html_table(*contender_table(suite)))
            parts += _draw(suite)
            parts.append(f"<p>{escape(describe_rounds(suite))}</p>")
        parts += [f"<p>{escape(note)}</p>" for note in suite["notes"]]
    return "\n".join(parts) + "\n</html>\n"


def to_markdown(results: dict[str, Any]) -> str:
    """
    Write the tables for docs/benchmarks.md.

    Args:
        results: What results.json holds.

    Returns:
        Markdown.
    """
    lines = [describe_run(results), ""]
    for suite in results["suites"]:
        lines += [f"### {suite['title']}", "", suite["about"], ""]
        if suite["goals"]:
            lines += [*_to_markdown_table(("figure", "goal", "measured", ""), goal_rows(suite)), ""]
        if suite["rounds"]:
            lines += [*_to_markdown_table(*contender_table(suite)), "", describe_rounds(suite), ""]
        lines += [f"* {note}" for note in suite["notes"]]
        if suite["notes"]:
            lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def replace_between(text: str, name: str, inside: str) -> str:
    """
    Replace what stands between two markers.

    Args:
        text: A document with ``<!-- name:begin -->`` and ``<!-- name:end -->``.

        name: The markers' name.

        inside: What is to stand there.

    Returns:
        The document.

    Raises:
        ValueError: If it has no such markers.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, begins, rest = text.partition(begin)
    _, ends, after = rest.partition(end)
    if not begins or not ends:
        raise ValueError(f"there are no markers {begin} and {end}")
    return f"{before}{begin}\n\n{inside.strip()}\n\n{end}{after}"


def describe_run(results: dict[str, Any]) -> str:
    """Say when, where and with what a run was made."""
    place = results["environment"]
    versions = ", ".join(f"{name} {version}" for name, version in place["versions"].items())
    commit = place["commit"] + (" with changes not committed" if place["is_modified"] else "")
    return (
        f"{place['date']}, {place['cpu']}, {place['cores']} cores, {place['memory_gib']} GiB, Linux {place['kernel']}, "
        f"Python {place['python']}, commit {commit}; {versions}. Servers and load generator share the cores."
    )


def describe_rounds(suite: dict[str, Any]) -> str:
    """Say how many rounds there were, and how much others disturbed them."""
    measured = [figures for one in suite["rounds"] for figures in one.values()]
    shares = sorted(figures["others_share"] for figures in measured)
    repeats = sum(len(figures["discarded"]) for figures in measured)
    return (
        f"{len(suite['rounds'])} rounds of {len(suite['rounds'][0])}; {repeats} measurements were repeated because "
        f"other programs disturbed them. In those that count, others and the kernel's own work took {shares[0]:.0%} to "
        f"{shares[-1]:.0%} of the machine, {percentile(shares, 0.5):.0%} in the median one."
    )


def goal_rows(suite: dict[str, Any]) -> list[tuple[str, ...]]:
    """Write a suite's goals as rows of text."""
    rows: list[tuple[str, ...]] = []
    for goal in suite["goals"]:
        sign = "≥" if goal["is_least"] else "<"
        verdict = "reached" if goal["is_reached"] else "missed"
        figure = format_spread(Spread(**goal["figure"]), 2 if goal["bound"] < 10 else 0)
        rows.append((goal["what"], f"{sign} {goal['bound']:g}", figure, verdict))
    return rows


def contender_table(suite: dict[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Write a suite's measurements as headings and rows of text."""
    rounds = suite["rounds"]
    names = sorted(rounds[0], key=list(suite["rounds"][0]).index)
    figures = [one for one in FIGURES if any(rounds[0][name].get(one[0]) for name in names)]
    programs = [one for one in PROGRAMS if any(one in rounds[0][name]["cpu_us_a_text"] for name in names)]
    rows = []
    for name in names:
        measured = [one[name] for one in rounds]
        row = [name]
        for key, _, decimals in figures:
            has_it = key in measured[0]
            row.append(format_spread(spread_of([m[key] for m in measured]), decimals) if has_it else "-")
        for program in programs:
            has_it = program in measured[0]["cpu_us_a_text"]
            used = [m["cpu_us_a_text"][program] for m in measured if has_it]
            row.append(f"{spread_of(used).median:.0f}" if has_it else "-")
        rows.append(tuple(row))
    headings = ("", *(heading for _, heading, _ in figures), *(f"CPU, µs a text: {p}" for p in programs))
    return headings, rows


def format_spread(spread: Spread, decimals: int) -> str:
    """Write a median with its bounds."""
    return f"{spread.median:.{decimals}f} ({spread.least:.{decimals}f}-{spread.most:.{decimals}f})"


def curves_of(suite: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """
    Gather the contenders that were offered several rates.

    Args:
        suite: With contenders named "NAME at SHARE".

    Returns:
        By name: rate in texts/s and p99 in milliseconds, medians over the rounds, ascending.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for step in suite["rounds"][0]:
        name, is_step, share = step.rpartition(" at ")
        if is_step and share.endswith("%"):
            measured = [one[step] for one in suite["rounds"]]
            rate, p99_ms = (
                spread_of([m[key] for m in measured]).median for key in ("offered_per_s", "p99_ms")
            )
            curves.setdefault(name, []).append((rate, p99_ms))
    return {name: sorted(points) for name, points in curves.items()}


def _draw(suite: dict[str, Any]) -> list[str]:
    if curves := curves_of(suite):
        return [draw_curves("p99, ms, against texts/s offered", curves)]
    plots = (("texts/s", "texts_per_s"), ("p99, ms", "p99_ms"))
    return [draw_bars(title, _spreads(suite, figure)) for title, figure in plots]


def _spreads(suite: dict[str, Any], figure: str) -> list[tuple[str, Spread]]:
    names = list(suite["rounds"][0])
    return [
        (name, spread_of([one[name][figure] for one in suite["rounds"]]))
        for name in names
        if figure in suite["rounds"][0][name]
    ]


def _to_html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>"
        + "".join(
            f'<td class="{cell}">{cell}</td>' if cell in {"reached", "missed"} else f"<td>{escape(cell)}</td>"
            for cell in row
        )
        + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _to_markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(headings) + " |", "| --- |" + " ---: |" * (len(headings) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]
