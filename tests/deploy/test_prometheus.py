"""The alerts: rules that Prometheus takes, proven to fire and to stay quiet, with a page for who is woken up."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from facade.metric_families import COUNTERS, GAUGES, HISTOGRAMS, WATCHED

CHECKOUT = Path(__file__).parents[2]
FOLDER = CHECKOUT / "deploy" / "prometheus"
RULES = sorted((FOLDER / "rules").glob("*.yml"))
TESTS = sorted((FOLDER / "tests").glob("*.yml"))
NAMES_OF_OTHERS = {"up", "nv_inference_request_success", "nv_inference_request_failure"}
"""Metrics of Prometheus itself and of Triton."""


def alerts() -> dict[str, dict[str, object]]:
    """Read all alerts, by name."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a tool of Prometheus's."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: apt-get install prometheus")
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_prometheus_takes_the_rules() -> None:
    """Each expression parses."""
    found = run("promtool", "check", "rules", *map(str, RULES))

    assert found.returncode == 0, found.stdout + found.stderr


def test_prometheus_takes_its_configuration() -> None:
    """Every field of it is known."""
    found = run("promtool", "check", "config", str(FOLDER / "prometheus.yml"))

    assert found.returncode == 0, found.stdout + found.stderr


def test_each_alert_fires_and_stays_quiet() -> None:
    """As its own two tests show, to the word."""
    found = run("promtool", "test", "rules", *map(str, TESTS))

    assert found.returncode == 0, found.stdout + found.stderr


def test_each_alert_has_both_tests() -> None:
    """One that fires and one that doesn't."""
    cases = {path.stem: yaml.safe_load(path.read_text())["tests"] for path in TESTS}

    assert set(cases) == set(alerts())
    for name, tests in cases.items():
        expected = [test["alert_rule_test"][0] for test in tests]
        assert [case["alertname"] for case in expected] == [name, name]
        assert [bool(case["exp_alerts"]) for case in expected] == [True, False]


def test_each_alert_has_a_page() -> None:
    """Who is woken up is told what to look at."""
    for name, rule in alerts().items():
        annotations = rule["annotations"]
        assert isinstance(annotations, dict)
        assert annotations["runbook"] == f"docs/runbooks/{name}.md"
        page = (CHECKOUT / annotations["runbook"]).read_text()
        assert page.startswith(f"# {name}\n")
        assert "**Do**" in page
    pages = {path.stem for path in (CHECKOUT / "docs" / "runbooks").glob("*.md")}
    assert pages == set(alerts())


def test_rules_ask_for_metrics_that_exist() -> None:
    """A renamed metric would silence an alert without a word."""
    known = {
        written
        for name in (*COUNTERS, *GAUGES, *HISTOGRAMS, *WATCHED)
        for written in ((f"{name}_bucket",) if name in HISTOGRAMS else (name,))
    }
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"]]
    recorded = {rule["record"] for rule in rules if "record" in rule}

    asked = {
        name
        for rule in rules
        for name in re.findall(r"[a-z][a-z0-9_:]*(?=\{|\[| [<>=]|\)| and|$)", rule["expr"])
        if "_" in name or ":" in name or name == "up"
    }

    assert asked <= known | recorded | NAMES_OF_OTHERS, asked - known - recorded - NAMES_OF_OTHERS
    assert {"api_requests_total", "facade_queue_depth", "facade_breaker_open"} <= asked
