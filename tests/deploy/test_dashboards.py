"""The dashboards: generated, well formed, and each of their questions has an answer in a running stack."""

from __future__ import annotations

import json
import math
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from deploy.grafana.__main__ import BOARDS, FOLDER
from deploy.grafana.panels import write_board
from tests.deploy.watched_stack import Traffic, WatchedStack, watched_stack

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deploy.grafana.panels import Board, Query

QUIET = {
    "Trouble with the cache": "Redis is well.",
    "Streams that broke": "None did.",
    "Breakers": "None ever opened.",
    "Second attempts": "None was needed.",
    "Canaries": "There is no version on trial.",
    "GPU: use": "There is no GPU, and Triton has these metrics only with one.",
    "GPU: memory": "As above.",
    "GPU: power": "As above.",
}
"""Panels that are empty until something happens, and why they are here."""

ONLY_WITH_GPU = {
    "nv_gpu_utilization",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_memory_total_bytes",
    "nv_gpu_power_usage",
}
"""Triton's names as its documentation has them; not seen here."""

PANELS = [panel for board in BOARDS for panel in (*board.stats, *board.series)]


@pytest.fixture(name="stack", scope="module")
def _stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedStack]:
    """A stack that has had some traffic, as Prometheus saw it."""
    with watched_stack(tmp_path_factory.mktemp("stack")) as stack, Traffic(stack) as traffic:
        end = time.monotonic() + 60
        while not stack.ask(
            "query", query="facade:latency_seconds:p99_5m > 0 and facade:errors:ratio_rate5m >= 0"
        ):
            assert time.monotonic() < end, "Prometheus saw no traffic"
            traffic.send_round()
        yield stack


def fill_in(expr: str) -> str:
    """Put values where Grafana would."""
    return expr.replace("$__rate_interval", "1m").replace("$model", ".+")


def test_the_files_are_what_the_generator_writes() -> None:
    """An edit of the JSON, or one of the generator alone, shows here: python -m deploy.grafana."""
    assert {path.stem for path in FOLDER.glob("*.json")} == {board.uid for board in BOARDS}
    for board in BOARDS:
        assert (FOLDER / f"{board.uid}.json").read_text() == write_board(board)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_dashboard_is_well_formed(board: Board) -> None:
    """Ids differ, panels don't overlap and stay on the grid, each says what it means, and no query is empty."""
    written = json.loads(write_board(board))
    panels = written["panels"]

    assert len({panel["id"] for panel in panels}) == len(panels) == len(board.stats) + len(board.series)
    cells = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["description"].endswith((".", "?"))
        assert all(target["expr"] for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}"
    assert {variable["name"] for variable in written["templating"]["list"]} >= {"datasource"}


def test_a_limit_is_its_alerts() -> None:
    """What turns red in a panel that names a runbook is what somebody is woken up for."""
    runbooks = {path.stem for path in (FOLDER.parents[2] / "docs" / "runbooks").glob("*.md")}
    rules = yaml.safe_load((FOLDER.parents[1] / "prometheus" / "rules" / "alerts.yml").read_text())
    alerts = {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    for panel in PANELS:
        for name in re.findall(r"[Rr]unbook (\w+)", panel.about):
            assert name in runbooks, panel.title
            threshold = re.search(r"> ([\d.]+)\s*$", alerts[name])
            if threshold and panel.limit is not None:
                assert float(threshold[1]) == panel.limit, panel.title


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_each_question_has_an_answer(stack: WatchedStack, board: Board) -> None:
    """With figures in it, from a real Prometheus that watches a real façade and a real Triton; or it says why not."""
    problems = [
        f"{panel.title}: {problem}: {query.expr}"
        for panel in (*board.stats, *board.series)
        for query in panel.queries
        if (problem := find_problem(stack, panel.title, query))
    ]

    assert not problems, "\n".join(problems)


def find_problem(stack: WatchedStack, title: str, query: Query) -> str:
    """Say what is wrong with a query's answer; empty if nothing is."""
    if title in QUIET:
        found = stack.ask("query", query=fill_in(query.expr))
        return "isn't quiet any more" if any(float(one["value"][1]) for one in found) else ""
    series = await_answer(stack, fill_in(query.expr))
    if not series:
        return "has no answer"
    labels = set(re.findall(r"\{\{(\w+)\}\}", query.legend))
    return "" if all(labels <= set(one["metric"]) for one in series) else "has no such labels"


def await_answer(stack: WatchedStack, expr: str, timeout_s: float = 30) -> list[dict[str, Any]]:
    """Ask until there are figures: on a busy machine a scrape may miss its second, and leaves a gap."""
    end = time.monotonic() + timeout_s
    while True:
        series = stack.ask("query", query=expr)
        found = [one for one in series if not math.isnan(float(one["value"][1]))]
        if found or time.monotonic() > end:
            return found
        time.sleep(0.2)


def test_quiet_panels_ask_for_metrics_that_exist(stack: WatchedStack) -> None:
    """A renamed metric would look as quiet as one that hasn't happened."""
    texts = [httpx.get(url).text for url in (stack.facade_metrics_url, stack.triton_metrics_url)]
    known = set(re.findall(r"^# HELP (\w+)", "\n".join(texts), re.MULTILINE))
    asked = {
        name
        for panel in PANELS
        for query in panel.queries
        for name in re.findall(r"\b(?:api|facade|nv)_\w+", query.expr)
    }
    asked = {re.sub(r"_(bucket|sum|count)$", "", name) if name not in known else name for name in asked}

    assert asked - known <= ONLY_WITH_GPU, asked - known - ONLY_WITH_GPU
    assert set(QUIET) <= {panel.title for panel in PANELS}


def test_the_model_variable_lists_models(stack: WatchedStack) -> None:
    """As the façade names them."""
    listed = {series["metric"]["model"] for series in await_answer(stack, "facade_model_calls_total")}

    assert {"letters", "moods", "pairs"} <= listed


def test_provisioning_finds_the_dashboards() -> None:
    """Grafana reads both files: fields that it knows, and paths that docker-compose mounts."""
    folder = Path(FOLDER).parent / "provisioning"
    dashboards = yaml.safe_load((folder / "dashboards" / "triton-facade.yml").read_text())
    sources = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())

    assert dashboards["providers"][0]["options"]["path"].startswith("/etc/grafana/")
    assert sources["datasources"][0]["type"] == "prometheus"
