"""The page's sections: each takes the facts and gives HTML, or nothing if there is nothing to tell."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from export.report import charts
from export.report.facts import ReportFacts
from export.report.html import Html, element, section, table, terms, text

MIB = 2**20
"""Bytes of a MiB."""

_MOST_POINTS = 200
"""Candidates drawn in the chart of a search."""


def choice(facts: ReportFacts) -> Html:
    """
    Tell which precision was chosen, why, and what became of the others.

    Args:
        facts: The version's facts.

    Returns:
        HTML.
    """
    trials = facts.manifest.get("precisions", [])
    parts = [element("p", facts.manifest.get("why", "The manifest doesn't say why."))]
    if facts.manifest.get("not_verified"):
        parts.append(
            element("p", "Not verified: ", facts.manifest["not_verified"], class_="bad"),
        )
    rows = []
    for trial in trials:
        speed = trial.get("speed") or {}
        figures = ", ".join(f"{name} {text(value)}" for name, value in (trial.get("parity") or {}).items())
        rows.append(
            (
                trial["precision"],
                "yes" if trial.get("chosen") else "no",
                trial["size_bytes"] / MIB,
                speed.get("rows_per_s", "-"),
                speed.get("least_rows_per_s", "-"),
                speed.get("most_rows_per_s", "-"),
                figures or trial.get("failure", "-"),
            )
        )
    if len(trials) > 1:
        parts.append(_trial_bars("Size of the graph", "MiB", trials))
    timed = [trial for trial in trials if trial.get("speed")]
    if timed:
        parts.append(
            _trial_bars("Throughput of the graph; whiskers: slowest to fastest round", "rows/s", timed)
        )
    heads = ("precision", "chosen", "MiB", "rows/s", "least", "most", "parity, or why not")
    parts.append(table("Candidates", heads, rows))
    return section("What was chosen, and why", *parts)


def speed(facts: ReportFacts) -> Html:
    """
    Tell latency and throughput by batch and length: of the export's candidates, and what was timed for this report.

    Args:
        facts: The version's facts.

    Returns:
        HTML.
    """
    candidates = {
        trial["precision"]: trial["speed"]["batches"]
        for trial in facts.manifest.get("precisions", [])
        if (trial.get("speed") or {}).get("batches")
    }
    parts = []
    if candidates:
        parts.append(element("p", "Candidates, timed in turn on the CPU of the machine that exported them."))
        parts += _by_batch("candidates", candidates)
    if facts.measured:
        batches = {name: [vars(batch) for batch in found.batches] for name, found in facts.measured.items()}
        parts.append(
            element("p", f"Graphs as published, timed in turn for this report on {facts.measured_on}.")
        )
        parts += _by_batch("published graphs", batches)
    if not parts:
        parts = [
            element(
                "p",
                "This version's manifest holds no timings: only one candidate was to choose from, or a GPU "
                "is its target. On a CPU, ",
                element("code", "triton-export report --measure"),
                " times it.",
                class_="quiet",
            )
        ]
    else:
        parts.append(
            element(
                "p",
                "The graph alone, without Triton, tokenizer and network. Ratios within one chart mean something; "
                "the figures belong to that machine and its load.",
                class_="quiet",
            )
        )
    return section("Latency and throughput by batch and length", *parts)


def tune(facts: ReportFacts) -> Html:
    """
    Tell what a search of the settings found; nothing if there was none.

    Args:
        facts: The version's facts.

    Returns:
        HTML.
    """
    found = facts.manifest.get("tune")
    if not found:
        return Html("")
    target = float(found["target_p99_ms"])
    before, after = found["before"], found["after"]
    parts = [
        element(
            "p",
            f"Target: 99th percentile of the latency at most {target:g} ms. Rounds in turn, after over before: ",
            ", ".join(f"{ratio:.2f}" for ratio in found.get("ratios", [])) or "-",
            ".",
        )
    ]
    candidates = found.get("candidates", [])
    points = [
        charts.Point(series, row["p99_ms"], row["items_per_s"])
        for series, rows in (
            ("candidates", candidates[-_MOST_POINTS:]),
            ("before", [before]),
            ("after", [after]),
        )
        for row in rows
        # A candidate that never answered has no latency to draw; the table has it.
        if math.isfinite(row["p99_ms"]) and math.isfinite(row["items_per_s"])
    ]
    title = "Throughput against latency of everything that was tried"
    parts.append(charts.scatter(title, ("p99, ms", "items/s"), points, (target, "target")))
    rows = [("before", *_tuned(before)), ("after", *_tuned(after))]
    parts.append(table("Before and after", ("", "items/s", "p99, ms", "settings"), rows))
    best = sorted(candidates, key=lambda row: (-row["rung"], row["p99_ms"] > target, -row["items_per_s"]))
    heads = ("rung", "items/s", "p99, ms", "settings")
    parts.append(
        table(
            "Candidates, those that came furthest first", heads, ((row["rung"], *_tuned(row)) for row in best)
        )
    )
    told = {key: found[key] for key in ("traffic", "machine") if key in found}
    parts.append(terms("Traffic and machine", told))
    return section("Tuned settings", *parts)


def versions(facts: ReportFacts) -> Html:
    """
    Tell which versions are on disk and what each is.

    Args:
        facts: The version's facts.

    Returns:
        HTML.
    """
    rows = []
    bars = []
    for version in facts.versions:
        recipe = (version.manifest or {}).get("recipe", {})
        precision = (version.manifest or {}).get("graph", {}).get("precision", "-")
        created = (version.manifest or {}).get("created_at", "-")
        rows.append(
            (
                str(version.version),
                version.role,
                precision,
                recipe.get("target", "-"),
                version.bytes / MIB,
                created,
            )
        )
        bars.append(
            charts.Bar(
                f"version {version.version}, {version.role}",
                version.bytes / MIB,
                is_marked=version.version == facts.version,
            )
        )
    return section(
        "Versions on disk",
        charts.bars("Size of each version, all files", "MiB", bars[:20]),
        table("Versions", ("version", "role", "precision", "target", "MiB", "created"), rows),
    )


def provenance(facts: ReportFacts) -> Html:
    """
    Tell what the version was made from, by what, and what its files hash to.

    Args:
        facts: The version's facts.

    Returns:
        HTML.
    """
    manifest = facts.manifest
    files = [
        (path, facts.sizes_bytes.get(path, "-"), element("code", digest))
        for path, digest in manifest.get("files", {}).items()
    ]
    state = f"All {len(files)} files are what was exported: SHA-256 was computed again for this report."
    checked = element("p", facts.changed or state, class_="bad" if facts.changed else "good")
    hardware = {key: manifest[key] for key in ("verified_on", "cpu_features") if key in manifest}
    configs = [
        element("figure", element("figcaption", file), element("pre", element("code", content)))
        for file, content in facts.configs.items()
    ]
    return section(
        "Provenance",
        checked,
        terms("Recipe: two equal ones make equal models", manifest.get("recipe", {})),
        terms("Tools", manifest.get("tools", {})),
        terms(
            "Graph, model card and hardware",
            {**manifest.get("graph", {}), **manifest.get("card", {}), **hardware},
        ),
        table("Files", ("file", "bytes", "SHA-256"), files),
        *configs,
    )


def _trial_bars(title: str, unit: str, trials: Sequence[Mapping[str, Any]]) -> Html:
    bars = []
    for trial in trials:
        chosen = bool(trial.get("chosen"))
        name = f"{trial['precision']}{', chosen' if chosen else ''}"
        if unit == "MiB":
            bars.append(charts.Bar(name, trial["size_bytes"] / MIB, is_marked=chosen))
        else:
            found = trial["speed"]
            spread = (found["least_rows_per_s"], found["most_rows_per_s"])
            bars.append(charts.Bar(name, found["rows_per_s"], *spread, is_marked=chosen))
    return charts.bars(title, unit, bars)


def _by_batch(what: str, series: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Html]:
    """Draw latency and throughput of some graphs by batch, and the table of both."""
    latency, throughput, rows = [], [], []
    for name, batches in series.items():
        for batch in batches:
            shape = _shape_name(batch["rows"], batch["tokens"])
            rows_per_s = 1e3 * batch["rows"] / batch["median_ms"]
            latency.append(charts.Dot(shape, name, batch["median_ms"]))
            throughput.append(charts.Dot(shape, name, rows_per_s))
            spread = (batch["median_ms"], batch["least_ms"], batch["most_ms"])
            rows.append((name, batch["rows"], batch["tokens"], *spread, rows_per_s))
    heads = ("graph", "rows", "tokens", "median, ms", "least, ms", "most, ms", "rows/s")
    return [
        charts.dot_rows(f"Latency of a batch: {what}", "ms, median (logarithmic; left is better)", latency),
        charts.dot_rows(f"Throughput: {what}", "rows/s (logarithmic; right is better)", throughput),
        table(f"Latency and throughput: {what}", heads, rows),
    ]


def _shape_name(rows: int, tokens: int) -> str:
    return f"{rows} x {tokens} tokens" if tokens else f"{rows} at once"


def _tuned(row: Mapping[str, Any]) -> tuple[Any, ...]:
    settings = ", ".join(f"{key} {value}" for key, value in row["settings"].items())
    return row["items_per_s"], row["p99_ms"], settings
