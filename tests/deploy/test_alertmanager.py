"""Who is told of which alert: Alertmanager's own tools read the configuration, and a real Alertmanager holds back."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from tests.deploy.test_prometheus import FOLDER, alerts, run
from tests.facade.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = FOLDER / "alertmanager.yml"
OLDEST = (0, 25)
"""The first Alertmanager that reads PagerDuty's key from a file; Debian 12 has it, Ubuntu 22.04 has not."""


@pytest.fixture(autouse=True)
def _new_enough() -> None:
    """Skip where there is none, or an older one."""
    said = run("amtool", "--version")
    version = re.search(r"version (\d+)\.(\d+)", said.stdout + said.stderr)
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        pytest.skip("Alertmanager is too old: 0.25 is needed")


def test_alertmanager_takes_its_configuration() -> None:
    """Every field of it is known."""
    found = run("amtool", "check-config", str(CONFIG))

    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_reaches_somebody() -> None:
    """What pages goes to the pager, what waits to the tickets."""
    receivers = {"page": "pager", "ticket": "tickets"}
    for name, rule in alerts().items():
        labels: Any = rule["labels"]
        route = ["amtool", "config", "routes", "test", f"--config.file={CONFIG}"]
        found = run(*route, f"severity={labels['severity']}", f"alertname={name}")

        assert found.stdout.strip() == receivers[labels["severity"]], name


def test_rules_of_silence_name_alerts_that_exist() -> None:
    """A renamed alert would be silenced no more, or silence nobody."""
    for rule in yaml.safe_load(CONFIG.read_text())["inhibit_rules"]:
        (source,) = rule["source_matchers"]
        assert source.partition("=")[2].strip('"') in alerts()


@pytest.fixture(name="alertmanager")
def _alertmanager(tmp_path: Path) -> Iterator[str]:
    """A real Alertmanager with the project's configuration; its secrets are files of the test's own."""
    if shutil.which("prometheus-alertmanager") is None:
        pytest.skip("Alertmanager is not installed: apt-get install prometheus-alertmanager")
    (tmp_path / "secret").write_text("http://127.0.0.1:1/nobody")
    config = CONFIG.read_text()
    for name in ("pagerduty_routing_key", "slack_api_url"):
        config = config.replace(f"/run/secrets/{name}", str(tmp_path / "secret"))
    (tmp_path / "alertmanager.yml").write_text(config)
    port = free_port()
    command = [
        "prometheus-alertmanager",
        f"--config.file={tmp_path}/alertmanager.yml",
        f"--storage.path={tmp_path}/storage",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    ]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        end = time.monotonic() + 30
        while True:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < end
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_what_follows_from_something_else_is_held_back(alertmanager: str) -> None:
    """Triton away: one page, and none for the errors that come of it; other trouble is still told."""
    names = ["TritonUnreachable", "FacadeErrorsHigh", "ErrorBudgetBurnsFast", "KeysFileBroken"]
    sent = [{"labels": {"alertname": name, "severity": "page"}} for name in names]
    httpx.post(f"{alertmanager}/api/v2/alerts", json=sent).raise_for_status()
    expected = {"TritonUnreachable": "active", "KeysFileBroken": "active"}
    expected |= {"FacadeErrorsHigh": "suppressed", "ErrorBudgetBurnsFast": "suppressed"}

    end = time.monotonic() + 60
    while True:
        seen = httpx.get(f"{alertmanager}/api/v2/alerts").json()
        states = {alert["labels"]["alertname"]: alert["status"]["state"] for alert in seen}
        if states == expected:
            return
        assert time.monotonic() < end, states
        time.sleep(0.1)
