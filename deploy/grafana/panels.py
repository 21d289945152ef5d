"""What a dashboard is made of, and how Grafana wants it written (dashboard schema 39, Grafana 10.4 and later)."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

SCHEMA_VERSION = 39
WIDTH = 24
"""Columns of Grafana's grid."""

STAT_HEIGHT, SERIES_HEIGHT = 4, 8
STATS_IN_ROW, SERIES_IN_ROW = 6, 3

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
"""Chosen in the dashboard's first variable."""

Unit = Literal["reqps", "s", "percentunit", "short", "bytes", "watt", "none", "ops"]
"""Grafana's own names of units."""


class Query(NamedTuple):
    """One question to Prometheus."""

    expr: str
    """PromQL; ``$__rate_interval`` and ``$model`` are Grafana's to fill in."""

    legend: str = ""
    """Name of each series, with labels in double braces."""


class Panel(NamedTuple):
    """One picture."""

    title: str
    """What it shows."""

    unit: Unit
    """What its axis counts."""

    queries: tuple[Query, ...]
    """What is drawn."""

    about: str
    """What it means, and when to worry."""

    limit: float | None = None
    """From here on it is red; an alert's threshold where there is one."""

    is_low_bad: bool = False
    """Whether the limit is a lower bound: red below."""


class Board(NamedTuple):
    """One dashboard."""

    uid: str
    """Its name in links and files."""

    title: str
    """Its name on the screen."""

    stats: tuple[Panel, ...]
    """Single figures, on top."""

    series: tuple[Panel, ...]
    """Curves."""

    model_query: str = ""
    """What lists the models that the variable ``$model`` offers; empty for no such variable."""


def write_board(board: Board) -> str:
    """
    Write a dashboard.

    Args:
        board: What it shows.

    Returns:
        JSON as Grafana's provisioning reads it, the same for the same board.
    """
    stats_rows = -(-len(board.stats) // STATS_IN_ROW)
    panels = [
        {**_to_panel(panel, "stat"), "id": 1 + at, "gridPos": _place(at, STATS_IN_ROW, STAT_HEIGHT, 0)}
        for at, panel in enumerate(board.stats)
    ]
    panels += [
        {
            **_to_panel(panel, "timeseries"),
            "id": 1 + len(board.stats) + at,
            "gridPos": _place(at, SERIES_IN_ROW, SERIES_HEIGHT, stats_rows * STAT_HEIGHT),
        }
        for at, panel in enumerate(board.series)
    ]
    written = {
        "uid": f"triton-facade-{board.uid}",
        "title": board.title,
        "tags": ["triton-facade"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": _to_variables(board)},
        "annotations": {"list": []},
        "links": [
            {
                "type": "dashboards",
                "title": "triton-facade",
                "tags": ["triton-facade"],
                "asDropdown": False,
                "includeVars": True,
                "keepTime": True,
                "targetBlank": False,
                "icon": "external link",
                "tooltip": "",
                "url": "",
            }
        ],
        "panels": panels,
    }
    return json.dumps(written, indent=2, ensure_ascii=False) + "\n"


def _place(at: int, in_row: int, height: int, top: int) -> dict[str, int]:
    width = WIDTH // in_row
    return {"x": at % in_row * width, "y": top + at // in_row * height, "w": width, "h": height}


def _to_panel(panel: Panel, kind: Literal["stat", "timeseries"]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + at),
            "datasource": DATASOURCE,
            "expr": query.expr,
            "legendFormat": query.legend or "__auto",
            "range": True,
        }
        for at, query in enumerate(panel.queries)
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": _to_thresholds(panel)}
    options: dict[str, Any] = {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "background" if panel.limit is not None else "value",
        "graphMode": "area",
    }
    if kind == "timeseries":
        style = "off" if panel.limit is None or panel.is_low_bad else "dashed"
        defaults["custom"] = {"fillOpacity": 10, "showPoints": "never", "thresholdsStyle": {"mode": style}}
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "type": kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }


def _to_thresholds(panel: Panel) -> dict[str, Any]:
    low, high = ("red", "green") if panel.is_low_bad else ("green", "red")
    steps: list[dict[str, Any]] = [{"color": low if panel.limit is not None else "green", "value": None}]
    if panel.limit is not None:
        steps.append({"color": high, "value": panel.limit})
    return {"mode": "absolute", "steps": steps}


def _to_variables(board: Board) -> list[dict[str, Any]]:
    variables: list[dict[str, Any]] = [
        {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus", "hide": 0}
    ]
    if board.model_query:
        variables.append(
            {
                "type": "query",
                "name": "model",
                "label": "Model",
                "datasource": DATASOURCE,
                "query": {"query": board.model_query, "refId": "model"},
                "refresh": 2,
                "includeAll": True,
                "allValue": ".+",
                "multi": True,
                "current": {"text": ["All"], "value": ["$__all"]},
                "hide": 0,
            }
        )
    return variables
