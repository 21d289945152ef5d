"""
Pictures of the dashboards for ``docs/images/``, drawn from their own queries.

Grafana itself isn't needed: a stack is put under changing load, the real Prometheus that watches it is asked each
panel's query over that time (``query_range``), the answers are drawn as SVG in the dashboard's own grid, and a headless
Chromium makes a PNG of the page. It shows what is asked and answered, not Grafana's looks.
"""

from __future__ import annotations

import argparse
import html
import json
import math
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from deploy.grafana.__main__ import FOLDER
from deploy.local.triton import CHECKOUT
from tests.deploy.watched_stack import Traffic, WatchedStack, watched_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

IMAGES = CHECKOUT / "docs" / "images"
COLUMN, ROW = 52, 26
"""Pixels of a cell of the grid."""

COLOURS = ("#7eb26d", "#eab839", "#6ed0e0", "#ef843c", "#e24d42", "#1f78c1", "#ba43a9", "#705da0")
RATE_WINDOW = "10s"
STEP_S = 1
MOST_SERIES = 8
STYLE = """
body { margin: 0; background: #111217; font: 12px sans-serif; color: #ccccdc; }
.board { position: relative; }
.panel { position: absolute; box-sizing: border-box; padding: 6px 8px; background: #181b1f; border: 1px solid #2c3235; }
.title { font-weight: 600; white-space: nowrap; overflow: hidden; }
.figure { font-size: 30px; text-align: center; padding-top: 14px; }
.legend { font-size: 10px; line-height: 13px; height: 26px; overflow: hidden; }
"""

Series = list[tuple[float, float]]


def main() -> None:
    """Draw all four."""
    parser = argparse.ArgumentParser(prog="python -m tests.deploy.draw_dashboards", description=__doc__)
    parser.add_argument("--seconds", type=int, default=90, help="of load (default: %(default)s)")
    options = parser.parse_args()
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, watched_stack(Path(folder)) as stack:
        began = time.time()
        send_waves(stack, options.seconds)
        ended = time.time()
        for path in sorted(FOLDER.glob("*.json")):
            page = draw_page(json.loads(path.read_text()), stack, began, ended)
            photograph(page, Path(folder), IMAGES / f"dashboard-{path.stem}.png")


def send_waves(stack: WatchedStack, seconds: int) -> None:
    """Send requests, more and fewer by turns."""
    end = time.monotonic() + seconds
    with Traffic(stack) as traffic:
        while (left := end - time.monotonic()) > 0:
            wave = (1 + math.sin(left / 6)) / 2
            traffic.send_round(texts=1 + int(40 * wave))
            time.sleep(0.4 * (1 - wave))


def draw_page(board: dict[str, Any], stack: WatchedStack, start: float, end: float) -> str:
    """
    Write a dashboard's page.

    Args:
        board: Its JSON.

        stack: Where its queries are answered.

        start: Of the time shown, in seconds since 1970.

        end: Of the time shown.

    Returns:
        HTML.
    """
    height = ROW * max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    panels = "".join(draw_panel(panel, stack, start, end) for panel in board["panels"])
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}</style>"
        f'<div class=board style="width:{24 * COLUMN}px;height:{height}px">{panels}</div>'
    )


def draw_panel(panel: dict[str, Any], stack: WatchedStack, start: float, end: float) -> str:
    """Draw one panel at its place, from what its queries find."""
    found: list[tuple[str, Series]] = []
    for target in panel["targets"]:
        expr = target["expr"].replace("$__rate_interval", RATE_WINDOW).replace("$model", ".+")
        answers = stack.ask("query_range", query=expr, start=f"{start}", end=f"{end}", step=f"{STEP_S}s")
        for answer in answers:
            points = [(at, float(value)) for at, value in answer["values"] if math.isfinite(float(value))]
            if points:
                found.append((name_series(target["legendFormat"], answer["metric"]), points))
    at = panel["gridPos"]
    width, height = at["w"] * COLUMN - 4, at["h"] * ROW - 4
    place = f"left:{at['x'] * COLUMN}px;top:{at['y'] * ROW}px;width:{width}px;height:{height}px"
    unit = panel["fieldConfig"]["defaults"]["unit"]
    if not found:
        body = '<div class=figure style="color:#6e7079">No data</div>'
    elif panel["type"] == "stat":
        colour = choose_colour(panel["fieldConfig"]["defaults"]["thresholds"]["steps"], found[0][1][-1][1])
        body = f'<div class=figure style="color:{colour}">{write_number(found[0][1][-1][1], unit)}</div>'
    else:
        body = draw_curves(found[:MOST_SERIES], (width - 18, height - 56), (start, end), unit)
    return (
        f'<div class=panel style="{place}"><div class=title>{html.escape(panel["title"])}</div>{body}</div>'
    )


def name_series(legend: str, labels: dict[str, str]) -> str:
    """Fill labels into a legend, as Grafana does."""
    for label, value in labels.items():
        legend = legend.replace(f"{{{{{label}}}}}", value)
    return "" if legend == "__auto" else legend


def choose_colour(steps: Sequence[dict[str, Any]], value: float) -> str:
    """Find the colour of the last threshold that a value has reached."""
    reached = [step["color"] for step in steps if step["value"] is None or value >= step["value"]]
    return {"green": "#73bf69", "red": "#f2495c"}[reached[-1]]


def draw_curves(
    found: Sequence[tuple[str, Series]], size: tuple[int, int], span: tuple[float, float], unit: str
) -> str:
    """Draw series on one pair of axes, and name them below."""
    width, height = size
    left, (start, end) = 66, span
    top = max(value for _, points in found for _, value in points) or 1.0
    lines = [
        f'<text x="{left - 6}" y="{height - share * (height - 8) + 3:.0f}" fill="#9fa1aa" font-size="10" '
        f'text-anchor="end">{write_number(top * share, unit)}</text>'
        f'<path d="M{left} {height - share * (height - 8):.0f}H{width}" stroke="#2c3235"/>'
        for share in (0, 0.5, 1)
    ]
    for (_, points), colour in zip(found, COLOURS, strict=False):
        path = "L".join(
            f"{left + (at - start) / (end - start) * (width - left):.1f} {height - value / top * (height - 8):.1f}"
            for at, value in points
        )
        lines.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
    legend = " &nbsp; ".join(
        f'<span style="color:{colour}">&#9644;</span> {html.escape(name)}'
        for (name, _), colour in zip(found, COLOURS, strict=False)
        if name
    )
    drawn = f'<svg width="{width}" height="{height + 6}">{"".join(lines)}</svg>'
    return f"{drawn}<div class=legend>{legend}</div>"


def write_number(value: float, unit: str) -> str:
    """Write a figure with its unit, in few signs."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return (
        f"{value:,.0f}" if value >= 1000 else f"{value:.3g}" + {"reqps": " req/s", "ops": " /s"}.get(unit, "")
    )


def photograph(page: str, folder: Path, image: Path) -> None:
    """Have Chromium make a PNG of a page."""
    browser = shutil.which("chromium")
    assert browser is not None, "apt-get install chromium"
    height = int(page.partition("px;height:")[2].partition("px")[0])
    (folder / "page.html").write_text(page)
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={folder}/browser",
    ]
    size = f"--window-size={24 * COLUMN},{height}"
    command = [browser, *options, size, f"--screenshot={image}", f"file://{folder}/page.html"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    with Image.open(image) as drawn:
        small = drawn.convert("RGB").quantize(64)
    small.save(image, optimize=True)


if __name__ == "__main__":
    main()
