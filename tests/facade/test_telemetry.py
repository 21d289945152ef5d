"""Log lines are JSON, one a record."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from facade.telemetry import MAX_VERSION_LABELS, QUIET_LOGGERS, JsonFormatter, Metrics, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_a_line_is_one_json_object() -> None:
    """Extra fields stand beside time, level and event; a line break can't forge a second line."""
    record = logging.makeLogRecord({"msg": "re\nquest", "levelname": "INFO", "status": 200})

    line = JsonFormatter().format(record)

    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {"level": "info", "event": "re\nquest", "status": 200}


def test_a_traceback_is_in_its_line() -> None:
    """Errors keep their reason."""
    try:
        raise ValueError("why")  # noqa: TRY301  # the traceback is what is tested
    except ValueError:
        record = logging.makeLogRecord({"msg": "x", "levelname": "ERROR", "exc_info": sys.exc_info()})

    assert "ValueError: why" in json.loads(JsonFormatter().format(record))["exception"]


def test_each_instance_has_a_registry_of_its_own() -> None:
    """Two façades in one process don't count together."""
    first, second = Metrics(), Metrics()
    first.observe_request("GET", "/x", 200, 0.1)

    labels = {"method": "GET", "endpoint": "/x", "status": "200"}
    assert first.registry.get_sample_value("api_requests_total", labels) == 1
    assert second.registry.get_sample_value("api_requests_total", labels) is None


def test_tokens_are_counted_and_nothing_else_forgotten() -> None:
    """Children stay as they are looked up once, whatever is counted between."""
    metrics = Metrics()
    metrics.observe_batch("minilm", 3, 0.1)
    metrics.count_tokens("minilm", "in", 7)
    metrics.observe_batch("minilm", 3, 0.1)

    read = metrics.registry.get_sample_value
    assert read("facade_tokens_total", {"model": "minilm", "direction": "in"}) == 7
    assert read("facade_queue_wait_seconds_count", {"model": "minilm"}) == 2


@pytest.fixture(name="_own_loggers")
def _keep_loggers() -> Iterator[None]:
    """Give the test runner its log handlers back."""
    loggers = [logging.getLogger(name) for name in ("", *QUIET_LOGGERS)]
    before = [(logger, logger.handlers[:], logger.level, logger.propagate) for logger in loggers]
    yield
    for logger, handlers, level, propagate in before:
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.setLevel(level)


@pytest.mark.usefixtures("_own_loggers")
def test_debug_lines_are_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    """At "debug" gRPC doesn't write a line for each of its calls."""
    set_up_logging("debug")
    logging.getLogger("grpc._cython.cygrpc").debug("Loaded running loop")
    logging.getLogger("facade.access.fallback_quotas").debug("still away")

    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "still away"


def test_versions_in_metrics_are_bounded() -> None:
    """After very many releases a process names no more versions, so that series stay few."""
    metrics = Metrics()
    for version in range(MAX_VERSION_LABELS + 5):
        metrics.observe_call("m", version, "ok", 0.01)
    lines = [
        line
        for line in metrics.expose().decode().splitlines()
        if line.startswith("facade_model_calls_total{")
    ]
    assert len(lines) == MAX_VERSION_LABELS + 1
    assert 'facade_model_calls_total{model="m",outcome="ok",version="other"} 5.0' in lines
