"""The page: its head with what a reviewer looks for first, then its sections."""

from datetime import UTC, datetime
from pathlib import Path

from export.disk import replace_file
from export.errors import BadInput
from export.report import sections
from export.report.facts import ReportFacts, refusing_strange_values
from export.report.html import Html, element, text
from export.report.parity import parity
from export.report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""The page loads nothing and runs nothing, and a browser holds it to that."""


def render(facts: ReportFacts, now: datetime | None = None) -> str:
    """
    Write the page.

    Args:
        facts: The version's facts.

        now: When it was made; None is now.

    Returns:
        HTML, complete in itself.

    Raises:
        FilesChanged: If the manifest was edited by hand so that it can't be told.
    """
    with refusing_strange_values(facts.name, facts.version):
        return _compose(facts, now)


def _compose(facts: ReportFacts, now: datetime | None) -> str:
    """Put the page together."""
    made_at = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    title = f"{facts.name}, version {facts.version}"
    head = element(
        "head",
        # `meta` has no end tag.
        Html('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        element("title", f"{title}: report"),
        Html(f"<style>{STYLE}</style>"),
    )
    main = element(
        "main",
        _top(facts, title),
        sections.choice(facts),
        parity(facts),
        sections.speed(facts),
        sections.tune(facts),
        sections.versions(facts),
        sections.provenance(facts),
    )
    foot = element("footer", element("p", f"Made by triton-export report, {made_at}.", class_="quiet"))
    return f"<!doctype html>\n{element('html', head, element('body', main, foot), lang='en')}\n"


def write_page(path: Path, page: str) -> None:
    """
    Write the page to a file, which appears whole or not at all.

    Args:
        path: The file; one that is there already is replaced.

        page: The page.

    Raises:
        BadInput: If it can't be written.
    """
    try:
        replace_file(path, page)
    except OSError as error:
        raise BadInput(
            f"The report can't be written to {path}: {error.strerror or error}. Name another file with --output."
        ) from error


def _top(facts: ReportFacts, title: str) -> Html:
    """Write the title and the cards below it."""
    manifest = facts.manifest
    recipe, graph = manifest["recipe"], manifest["graph"]
    role = next((found.role for found in facts.versions if found.version == facts.version), "candidate")
    made_from = f"{recipe['model_id']}{', commit ' + recipe['revision'] if recipe.get('revision') else ''}"
    engine = recipe["engine"]
    if recipe.get("accelerator") not in {None, "none"}:
        engine += f" with {recipe['accelerator']}"
    total_mib = sum(facts.sizes_bytes.values()) / sections.MIB
    cards = [
        ("Role", role, _say_release(facts)),
        ("Task", recipe["task"], f"from {made_from}"),
        ("Precision", graph["precision"], f"asked for: {recipe['precision']}"),
        ("Runs on", recipe["target"], engine),
        ("Parity", *_say_parity(facts)),
        ("Size", f"{total_mib:,.1f} MiB", f"{len(facts.sizes_bytes)} files"),
        ("Files", *_say_files(facts)),
        ("Exported", manifest["created_at"][:10], manifest["created_at"][11:]),
    ]
    written = (
        element("div", element("dt", name), element("dd", value, element("small", more)))
        for name, value, more in cards
    )
    return element("header", element("h1", title), element("dl", *written, class_="cards"))


def _say_release(facts: ReportFacts) -> str:
    """Tell which versions answer."""
    release = facts.release
    said = f"stable is {release.stable}"
    if release.canary is not None:
        said += f", canary is {release.canary} for {release.canary_percent:g} % of the callers"
    return said


def _say_parity(facts: ReportFacts) -> tuple[Html, str]:
    """Tell whether the version was compared with the original, and its first figure."""
    report = facts.manifest.get("parity", {})
    figures = [key for key in report if f"required_{key}" in report]
    if not figures:
        return element("span", "not compared", class_="bad"), "see below"
    first = figures[0]
    return element("span", "passed", class_="good"), f"{first} {text(float(report[first]))}"


def _say_files(facts: ReportFacts) -> tuple[Html, str]:
    """Tell whether the files are what was exported."""
    if facts.changed:
        return element("span", "changed", class_="bad"), "see provenance"
    return element("span", "as exported", class_="good"), "SHA-256 of each"
