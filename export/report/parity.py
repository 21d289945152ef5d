"""How the version compares with the original, batch by batch, against its tolerances."""

from collections.abc import Mapping
from typing import Any

from export.report import charts
from export.report.facts import ReportFacts
from export.report.html import Html, element, section, table, text
from export.tolerances import FIGURES, TOLERANCES

LEAST_SHARE = 1e-6
"""Where the chart begins: what uses less of its tolerance is drawn here."""


def parity(facts: ReportFacts) -> Html:
    """
    Tell how the version compares with the original, against its tolerances.

    Args:
        facts: The version's facts.

    Returns:
        HTML.
    """
    report = facts.manifest.get("parity", {})
    required = _required(report)
    if not required:
        return section(
            "Parity with the original",
            element("p", "This version wasn't compared with the original.", class_="bad"),
        )
    rows = [
        (
            name,
            report[name],
            f"{'≤' if name.startswith('max_') else '≥'} {text(bound)}",
            _verdict(name, report[name], bound),
            FIGURES.get(name, "-"),
        )
        for name, bound in required.items()
    ]
    recipe = facts.manifest["recipe"]
    tolerance = TOLERANCES.get((recipe["task"], facts.manifest["graph"]["precision"]))
    reason = [element("p", "Why these tolerances: ", tolerance.reason)] if tolerance else []
    dots = [
        charts.Dot(_batch_name(point), name, share_used(name, point[name], bound))
        for point in report["points"]
        for name, bound in required.items()
        if name in point and not name.startswith("mean_")
    ]
    drawn = []
    if dots:
        title = "Share of each tolerance that a batch of inputs uses"
        unit = f"share of the tolerance (logarithmic; {LEAST_SHARE:g} and less at the left end)"
        drawn.append(charts.dot_rows(title, unit, dots, (1.0, "limit"), LEAST_SHARE))
    points = [
        (
            point["label"],
            point["batch_size"],
            point["max_tokens"],
            *(point.get(name, "-") for name in required),
        )
        for point in report["points"]
    ]
    return section(
        "Parity with the original",
        element("p", "Through the whole door: tokenizer or image processing, grouping, padding and graph."),
        table("Figures over all inputs", ("figure", "found", "required", "verdict", "what it is"), rows),
        *reason,
        *drawn,
        table("Worst figures by batch", ("inputs", "batch", "longest, tokens", *required), points),
    )


def share_used(figure: str, value: float, bound: float) -> float:
    """
    Tell how much of a tolerance a figure uses.

    Args:
        figure: Its name; `max_…` may be anything from zero to the bound, others anything from the bound to one.

        value: What was found.

        bound: What was asked.

    Returns:
        0 for a perfect answer, 1 at the bound, more beyond it.
    """
    if figure == "max_perplexity_ratio":
        # A ratio of 1 is perfect, and less than 1 is no worse.
        return max(0.0, value - 1) / (bound - 1)
    if figure.startswith("max_"):
        return value / bound
    missing = max(0.0, 1 - value)
    if bound >= 1:
        return 0.0 if missing == 0 else 2.0
    return missing / (1 - bound)


def _batch_name(point: Mapping[str, Any]) -> str:
    return f"{point['label']}, {point['batch_size']}"


def _required(report: Mapping[str, Any]) -> dict[str, float]:
    """List the bounds that the comparison was held to, as the manifest has them."""
    start = "required_"
    return {key.removeprefix(start): value for key, value in report.items() if key.startswith(start)}


def _verdict(name: str, value: float, bound: float) -> Html:
    passed = value <= bound if name.startswith("max_") else value >= bound
    return element("span", "passed" if passed else "failed", class_="good" if passed else "bad")
