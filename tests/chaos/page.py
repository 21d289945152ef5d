"""A run's results as a table in Markdown and as a picture: second by second, what share was answered right. Pure."""

from __future__ import annotations

from html import escape
from typing import Any

CELL_PX, ROW_PX, NAME_PX, HEAD_PX = 14, 20, 300, 60
COLOURS = ((1.0, "#2e7d32"), (0.99, "#9ccc65"), (0.9, "#fdd835"), (0.5, "#fb8c00"), (0.0, "#c62828"))
"""From which share on a second has which colour."""

NOTHING_DUE = "#e0e0e0"


def to_table(results: dict[str, Any]) -> str:
    """
    Write the table.

    Args:
        results: What chaos.json holds.

    Returns:
        Markdown.
    """
    lines = [
        "| fault | requests | right | wrong | failed | late | longest outage, s | recovery, s | p99, ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for one in results["faults"]:
        verdict = one["verdict"]
        lines.append(
            f"| {one['title']} | {verdict['due']} | {verdict['availability']:.2%} | {verdict['wrong']} | "
            f"{verdict['failed']} | {verdict['late']} | {verdict['longest_outage_s']:.2f} | "
            f"{verdict['recovery_s']:.2f} | {verdict['p99_s'] * 1000:.0f} |"
        )
    total = results["total"]
    lines.append(
        f"| **all** | {total['due']} | **{total['availability']:.3%}** | {total['wrong']} | | {total['late']} | | "
        f"{total['slowest_recovery_s']:.2f} | |"
    )
    lines += ["", "| goal | |", "| --- | --- |"]
    lines += [
        f"| {goal} | {'reached' if reached else 'missed'} |" for goal, reached in total["goals"].items()
    ]
    return "\n".join(lines)


def to_svg(results: dict[str, Any]) -> str:
    """
    Draw a row a fault and a cell a second, coloured by the share that was answered right; the fault is framed.

    Args:
        results: What chaos.json holds.

    Returns:
        A picture that needs nothing else.
    """
    faults = results["faults"]
    columns = max(len(one["right_by_second"]) for one in faults)
    width, height = NAME_PX + columns * CELL_PX + 20, HEAD_PX + len(faults) * ROW_PX + 10
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            'font-family="sans-serif" font-size="12">'
        ),
        f'<rect width="{width}" height="{height}" fill="white"/>',
        '<text x="10" y="20" font-size="14">Share of requests answered right, by the second they were due</text>',
        '<text x="10" y="40">green: all; yellow: nine in ten; red: less than half; framed: the fault</text>',
    ]
    for row, one in enumerate(faults):
        top = HEAD_PX + row * ROW_PX
        parts.append(f'<text x="10" y="{top + 14}">{escape(one["title"])}</text>')
        for second, share in enumerate(one["right_by_second"]):
            left = NAME_PX + second * CELL_PX
            parts.append(
                f'<rect x="{left}" y="{top + 2}" width="{CELL_PX - 1}" height="{ROW_PX - 4}" '
                f'fill="{colour_of(share)}"/>'
            )
        left = NAME_PX + one["begins_s"] * CELL_PX
        frame_px = max((one["ends_s"] - one["begins_s"]) * CELL_PX, 2)
        parts.append(
            f'<rect x="{left:.1f}" y="{top}" width="{frame_px:.1f}" height="{ROW_PX}" fill="none" stroke="black"/>'
        )
    return "\n".join(parts) + "\n</svg>\n"


def colour_of(share: float | None) -> str:
    """
    Give a second's colour.

    Args:
        share: That was answered right; None if nothing was due.

    Returns:
        A CSS colour.
    """
    if share is None:
        return NOTHING_DUE
    return next(colour for least, colour in COLOURS if share >= least)
