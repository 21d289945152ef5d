"""Every metric: of the façade (`facade.metric_families`) and of the models inside Triton (``export/runtime``)."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import yaml

from deploy.grafana.__main__ import BOARDS
from deploy.grafana.panels import write_board
from docs.reference.markdown import anchor, page, table
from docs.reference.sources import CHECKOUT
from export.runtime.decoder.metrics import DecoderMetrics
from export.runtime.text_encoder.metrics import TokenMetrics
from facade.metric_families import COUNTERS, GAUGES, HISTOGRAMS, WATCHED

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

RULES = CHECKOUT / "deploy" / "prometheus" / "rules"

COMBINED = {
    "livesum": "Several workers: their sum.",
    "livemin": "Several workers: the least.",
    "livemax": "Several workers: the greatest.",
}

UNITS = {"_seconds": "seconds", "_bytes": "bytes", "tokens_total": "tokens", "_items_total": "items"}
"""By what a name ends in, without ``_total`` where that isn't part of the word."""


class Family(NamedTuple):
    """A metric, wherever it is from."""

    name: str
    kind: str
    labels: tuple[str, ...]
    about: str
    buckets: tuple[float, ...] = ()


def facade_families() -> list[Family]:
    """
    List the façade's metrics.

    Returns:
        By name.
    """
    found = [Family(name, "counter", family.labels, family.description) for name, family in COUNTERS.items()]
    found += [
        Family(name, "histogram", family.labels, family.description, tuple(family.buckets))
        for name, family in HISTOGRAMS.items()
    ]
    for name, gauge in {**GAUGES, **WATCHED}.items():
        when = f" Only {gauge.condition}." if gauge.condition else ""
        found.append(Family(name, "gauge", gauge.labels, f"{gauge.description} {COMBINED[gauge.mode]}{when}"))
    return sorted(found)


def door_families() -> list[Family]:
    """
    List the metrics of the models that the export ships.

    Returns:
        By name.
    """
    triton = _Recorder()
    labels = {"model": "", "version": ""}
    TokenMetrics(triton, labels)
    DecoderMetrics(triton, labels)
    return sorted(triton.families.values())


class _Recorder:
    """Stands where Triton's module does, and notes what a model registers."""

    def __init__(self) -> None:
        self.families: dict[str, Family] = {}
        recorder = self

        class MetricFamily:
            COUNTER, GAUGE, HISTOGRAM = "counter", "gauge", "histogram"

            def __init__(self, name: str, description: str, kind: str) -> None:
                self._family = Family(name, kind, (), description)

            def Metric(self, labels: Mapping[str, str], buckets: Sequence[float] = ()) -> None:  # noqa: N802  # Triton's
                recorder.note(self._family._replace(labels=tuple(labels), buckets=tuple(buckets)), labels)

        self.MetricFamily = MetricFamily

    def note(self, family: Family, labels: Mapping[str, str]) -> None:
        """Keep a family, and the values of the labels that are known before anything is counted."""
        known = self.families.get(family.name)
        values = ", ".join(f"`{value}`" for value in labels.values() if value)
        separator = " " if known is None else ", "
        about = (known or family).about + (separator + values if values else "")
        self.families[family.name] = family._replace(about=about)


def write() -> str:
    """
    Write the page.

    Returns:
        Markdown.
    """
    facade, doors = facade_families(), door_families()
    heads = ("metric", "kind, unit", "labels", "meaning", "used by")
    return page(
        "Metrics",
        "Every metric that our programs expose. What to look at first is in [monitoring](../monitoring.md).",
        "## Façade",
        (
            "On `/metrics` of the façade's port (with a key) and of "
            "[`FACADE_METRICS_PORT`](settings.md#facade_metrics_port) (without). A series appears with the first thing "
            "that it counts. Beside each counter and histogram stands `…_created`: when the series began, in seconds "
            "since 1970."
        ),
        table(heads, map(_row, facade)),
        "## Models inside Triton",
        (
            "On Triton's metrics port, beside Triton's own `nv_*`. `door_*` are of the door of text models, "
            "`decoder_*` of our decoder."
        ),
        table(heads, map(_row, doors)),
        "## Buckets",
        "Upper edges of the histograms; Prometheus adds `+Inf`.",
        table(("metric", "edges"), _edges((*facade, *doors))),
    )


def _row(family: Family) -> tuple[str, str, str, str, str]:
    base = family.name.removesuffix("_total")
    unit = next((unit for end, unit in UNITS.items() if family.name.endswith(end) or base.endswith(end)), "")
    kind = f"{family.kind}, {unit}" if unit else family.kind
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"{anchor(family.name)}`{family.name}`", kind, labels, family.about, ", ".join(_users(family.name))


def _edges(families: Iterable[Family]) -> list[tuple[str, str]]:
    return [
        (f"`{family.name}`", ", ".join(f"{edge:g}" for edge in family.buckets))
        for family in families
        if family.buckets
    ]


def _users(name: str) -> list[str]:
    """Name the alerts, by their runbooks, and the dashboards that read a metric."""
    word = re.compile(rf"\b{name}(?:_bucket|_sum|_count)?\b")
    alerts = [f"[{alert}](../runbooks/{alert}.md)" for alert, text in _alerts().items() if word.search(text)]
    return alerts + [
        f"[dashboard {uid}](../monitoring.md#dashboards)"
        for uid, text in _boards().items()
        if word.search(text)
    ]


@cache
def _alerts() -> dict[str, str]:
    """Each alert's query, with those of the recorded ratios that it asks for."""
    groups = [
        group for path in sorted(RULES.glob("*.yml")) for group in yaml.safe_load(path.read_text())["groups"]
    ]
    rules = [rule for group in groups for rule in group["rules"]]
    recorded = {rule["record"]: rule["expr"] for rule in rules if "record" in rule}
    return {
        rule["alert"]: "\n".join(
            [rule["expr"], *(text for name, text in recorded.items() if name in rule["expr"])]
        )
        for rule in rules
        if "alert" in rule
    }


@cache
def _boards() -> dict[str, str]:
    return {board.uid: write_board(board) for board in BOARDS}
