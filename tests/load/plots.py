"""Plots for reports: SVG elements that need nothing else."""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.load.rounds import Spread

BAR_WIDTH, ROW_HEIGHT, LABEL_WIDTH = 420, 30, 290
CURVE_WIDTH, CURVE_HEIGHT, MARGIN = 560, 320, 48
COLOURS = ("#1f5fa8", "#c2410c", "#2f7d32", "#7b3fa0", "#9a7b00", "#00707a", "#a8325e", "#555555")
"""Of curves, in turn."""


def draw_bars(title: str, bars: Sequence[tuple[str, Spread]]) -> str:
    """
    Draw horizontal bars, each with a line from its least to its most.

    Args:
        title: What they show.

        bars: Labels and values.

    Returns:
        An SVG element.
    """
    longest = max((spread.most for _, spread in bars), default=0.0) or 1.0
    width, height = LABEL_WIDTH + BAR_WIDTH + 90, ROW_HEIGHT * (len(bars) + 1)
    parts = [f'<svg width="{width}" height="{height}" role="img"><text x="0" y="18">{escape(title)}</text>']
    for row, (label, spread) in enumerate(bars, start=1):
        middle = row * ROW_HEIGHT + ROW_HEIGHT / 2
        scale = BAR_WIDTH / longest
        left, right = LABEL_WIDTH + spread.least * scale, LABEL_WIDTH + spread.most * scale
        parts.append(
            f'<text x="0" y="{middle + 4:.0f}">{escape(label)}</text>'
            f'<rect x="{LABEL_WIDTH}" y="{middle - 9:.0f}" width="{spread.median * scale:.1f}" height="18" '
            'fill="#8fb3d9"/>'
            f'<line x1="{left:.1f}" x2="{right:.1f}" y1="{middle:.0f}" y2="{middle:.0f}" stroke="#222"/>'
            f'<text x="{right + 6:.1f}" y="{middle + 4:.0f}">{spread.median:.0f}</text>'
        )
    return "".join(parts) + "</svg>"


def draw_curves(title: str, curves: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """
    Draw curves over a common linear axis, upwards by the logarithm.

    Args:
        title: What they show.

        curves: Points by name, ascending; upward values above 0.

    Returns:
        An SVG element.
    """
    points = [point for curve in curves.values() for point in curve]
    most = max(x for x, _ in points) or 1.0
    low = math.floor(math.log10(min(y for _, y in points)))
    high = max(low + 1, math.ceil(math.log10(max(y for _, y in points))))

    def place(x: float, y: float) -> tuple[float, float]:
        across = MARGIN + x / most * CURVE_WIDTH
        up = 28 + CURVE_HEIGHT * (high - math.log10(y)) / (high - low)
        return across, up

    width, height = MARGIN + CURVE_WIDTH + 250, CURVE_HEIGHT + 60
    parts = [f'<svg width="{width}" height="{height}" role="img"><text x="0" y="16">{escape(title)}</text>']
    for power in range(low, high + 1):
        _, up = place(0, 10**power)
        parts.append(
            f'<line x1="{MARGIN}" x2="{MARGIN + CURVE_WIDTH}" y1="{up:.0f}" y2="{up:.0f}" stroke="#ddd"/>'
            f'<text x="0" y="{up + 4:.0f}">{10.0**power:g}</text>'
        )
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        across, _ = place(share * most, 10**low)
        parts.append(f'<text x="{across - 12:.0f}" y="{CURVE_HEIGHT + 48}">{share * most:.0f}</text>')
    for number, (name, curve) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(*point) for point in curve]
        line = " ".join(f"{across:.1f},{up:.1f}" for across, up in placed)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="3" fill="{colour}"/>' for across, up in placed]
        label = 40 + number * 20
        parts.append(
            f'<rect x="{MARGIN + CURVE_WIDTH + 16}" y="{label - 9}" width="10" height="10" fill="{colour}"/>'
            f'<text x="{MARGIN + CURVE_WIDTH + 32}" y="{label}">{escape(name)}</text>'
        )
    return "".join(parts) + "</svg>"
