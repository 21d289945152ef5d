"""Everything together, with a clock of the test's own."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from facade.doctor.examine import Questions, count, examine
from tests.facade.doctor.small_repository import write_repository
from tests.facade.redis_server import RedisServer

if TYPE_CHECKING:
    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

SUBJECTS = ["machine", "settings", "repository", "triton", "redis", "keys", "clocks"]


async def test_all_subjects_are_looked_at_in_order(
    triton: WireTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton's and Redis's findings come from the real sockets; a clock an hour off shows beside Redis's."""
    with RedisServer() as server:
        monkeypatch.setenv("FACADE_REDIS_URL", server.url)
        monkeypatch.setenv("FACADE_API_KEY", "hunter2-is-a-short-one")
        asked = Questions(
            {"triton_url": triton.url}, {}, write_repository(tmp_path), clock=lambda: time.time() + 3600
        )
        sections = await examine(asked)

    assert [section.subject for section in sections] == SUBJECTS
    assert sum(count(sections).values()) == sum(len(section.findings) for section in sections)
    assert "60.0 minutes ahead of redis" in sections[-1].findings[-1].found
    assert "hunter2" not in repr(sections)


async def test_an_address_that_swallows_everything_holds_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """192.0.2.1 (RFC 5737) answers to nobody: seconds, not minutes."""
    monkeypatch.setenv("FACADE_REDIS_URL", "redis://192.0.2.1")
    before = time.monotonic()
    sections = await examine(
        Questions({"triton_url": "192.0.2.1:8001"}, {}, None, "http://192.0.2.1", timeout_s=0.3)
    )

    assert time.monotonic() - before < 8
    assert [section.subject for section in sections] == [*SUBJECTS, "façade"]


async def test_a_look_that_fails_or_hangs_does_not_hide_the_others(
    triton: WireTriton, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that never answers, and a bug of our own whose message has a secret in it."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("hunter2")

    release = threading.Event()
    monkeypatch.setattr("facade.doctor.examine.FILES_LIMIT_S", 0.2)
    monkeypatch.setattr("facade.doctor.examine.examine_repository", lambda *_, **__: release.wait())
    monkeypatch.setattr("facade.doctor.examine.examine_redis", fail)
    sections = {
        section.subject: section.findings
        for section in await examine(Questions({"triton_url": triton.url}, {}, Path("/absent")))
    }
    release.set()

    assert "didn't come to its end" in sections["repository"][0].found
    assert sections["redis"][0].found == "the look failed (RuntimeError)"
    assert sections["triton"][0].status == "ok"
    assert "hunter2" not in repr(sections)
