"""What callers cost: the subtraction. Pure; and the bare application really sends what it was given."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from tests.load.caller_suites import CALLER_SUITES, PLAIN, WHOLE, added_cpu_us
from tests.load.suites import SUITES
from tests.load.tuning import TUNINGS

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio


def test_costs_are_subtracted_within_rounds() -> None:
    """A machine that gets slower from round to round shifts both, and the median is of the differences."""
    rounds = [
        {
            f"{PLAIN}, 1 caller": {"cpu_us_a_text": {"facade": 500.0 * drift}},
            f"{WHOLE}, 1 caller": {"cpu_us_a_text": {"facade": 500.0 * drift + added}},
        }
        for drift, added in ((1, 100.0), (2, 150.0), (3, 120.0))
    ]

    added = added_cpu_us(rounds, WHOLE, 1)

    assert (added.least, added.median, added.most) == (100, 120, 150)


def test_no_two_suites_have_one_name() -> None:
    """Each can be asked for by itself."""
    assert not CALLER_SUITES.keys() & (SUITES.keys() | TUNINGS.keys())


async def test_the_bare_application_reads_all_and_sends_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers only after the body's last part, with the file's bytes."""
    file = tmp_path / "answer.json"
    file.write_bytes(b'{"a": 1}')
    monkeypatch.setenv("PEER_ANSWER", str(file))
    bare = importlib.import_module("tests.load.peers.bare")
    parts: list[dict[str, object]] = [
        {"type": "http.request", "body": b"x", "more_body": more} for more in (True, True, False)
    ]
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return parts.pop(0)

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    await bare.app({"type": "http"}, receive, send)

    assert parts == []
    assert sent[0]["status"] == 200
    assert sent[1]["body"] == b'{"a": 1}'
