"""Log lines are JSON, one a record."""

from __future__ import annotations

import json
import logging
import sys

from facade.telemetry import JsonFormatter, Metrics


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
