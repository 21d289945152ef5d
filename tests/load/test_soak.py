"""The soak's pure parts: when to send, what its cache holds, which programs it watches."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest

from facade.cache.memory import MemoryTier
from tests.load import soak
from tests.load.generator import Fault, Sending

pytestmark = pytest.mark.anyio


def test_requests_are_spread_evenly_and_end() -> None:
    """Two a second from the start; a full load is always due and has no end."""
    assert list(soak.make_due_times(10.0, 2.0, 4)) == [10.0, 10.5, 11.0, 11.5]
    assert list(islice(soak.make_due_times(10.0, None, None), 3)) == [10.0, 10.0, 10.0]


@pytest.mark.parametrize("rate_per_s", [33.0, None])
def test_the_cache_is_full_within_the_first_minute(rate_per_s: float | None) -> None:
    """A real memory tier of the chosen size holds fewer vectors than are asked for in a minute."""
    tier = MemoryTier(soak.choose_cache_bytes(rate_per_s))
    in_a_minute = int((rate_per_s or soak.LEAST_FULL_LOAD_PER_S) * soak.WARM_S)
    for number in range(in_a_minute):
        tier.set(number.to_bytes(32, "big"), bytes(4 + 4 * 384), ttl_s=3600)

    assert len(tier) < in_a_minute
    assert tier.size_bytes > 0.95 * tier.limit_bytes


async def test_callers_send_each_text_once_and_note_what_was_wrong() -> None:
    """Due times are shared, so nothing is sent twice; a fault is kept word by word."""
    sent: list[str] = []

    async def call(sending: Sending) -> Fault | None:
        sent.extend(sending.texts)
        return Fault("wrong") if sending.texts == ["b"] else None

    import asyncio  # noqa: PLC0415

    now = asyncio.get_running_loop().time()
    outcome, texts, due_s = soak.Outcome(), iter("abcd"), soak.make_due_times(now, None, 4)
    await asyncio.gather(*(soak.call_on_time(call, texts, due_s, now + 60, outcome) for _ in range(3)))

    assert sorted(sent) == ["a", "b", "c", "d"]
    assert (outcome.answered, outcome.failures) == (3, ["wrong"])


def test_shared_memory_is_measured_by_its_name(tmp_path: Path) -> None:
    """What is occupied below the prefix counts, and nothing else does."""
    name = f"soak-test-{os.getpid()}-"
    region = Path("/dev/shm") / f"{name}1"
    try:
        region.write_bytes(bytes(64 * 1024))
        assert soak.shared_memory_kib(name) == 64
    finally:
        region.unlink()
    assert soak.shared_memory_kib(name) == 0


def test_programs_are_named_by_what_they_are() -> None:
    """The façade, and the tree of Triton's process, each with a number."""
    programs = soak.name_programs(os.getppid(), os.getpid())

    assert programs["façade"] == os.getppid()
    assert os.getpid() in programs.values()
