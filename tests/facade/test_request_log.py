"""Log lines are JSON, one a record."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING

import pytest

from facade.request_log import QUIET_LOGGERS, JsonFormatter, set_up_logging

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
