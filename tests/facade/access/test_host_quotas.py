"""Quotas that the workers of one host count together."""

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facade.access.host_quotas import ALONE_S, HostQuotas
from facade.access.host_table import MAGIC, SLOTS_A_BUCKET, HostTable, HostTableInvalid, create_table
from facade.access.keys import Key, Tier, to_digest
from facade.access.memory_quotas import MemoryQuotas
from facade.access.quotas import UNLIMITED, Lease, Quotas
from facade.errors import RateLimited
from tests.facade.access.host_hammer import KEY

ROOT = Path(__file__).parents[3]
WORKERS = 4


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A table for four workers."""
    path = tmp_path / "quotas.table"
    create_table(path, WORKERS)
    return path


@pytest.fixture(name="start")
def _start(path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start worker processes, and end them after the test."""
    started: list[subprocess.Popen[str]] = []

    def start(mode: str, worker: int, first: int = 0, second: float = 0) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.facade.access.host_hammer", mode, str(path)]
        command += [str(worker), str(first), str(second)]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True))
        return started[-1]

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def take(quotas: Quotas, tier: Tier, attempts: int, key: Key = KEY) -> list[Lease]:
    """Return the leases that *attempts* requests get."""

    async def run() -> list[Lease]:
        leases: list[Lease] = []
        for _ in range(attempts):
            try:
                leases.append(await quotas.admit(key, tier))
            except RateLimited:
                continue
        return leases

    return asyncio.run(run())


def test_four_hammering_processes_get_exactly_the_limit(
    path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """All ask at once for more than the limit: not one too many, not one too few, each got some."""
    limit = 4000
    workers = [start("hammer", index, limit, 4.0) for index in range(WORKERS)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    counts = []
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        output, _ = worker.communicate(timeout=60)
        counts.append(tuple(map(int, output.split())))

    admitted, asked = (sum(column) for column in zip(*counts, strict=True))
    assert asked > limit * 1.1, "too slow to reach the limit, so nothing was tested"
    assert admitted == limit
    assert min(count for count, _ in counts) > 0
    quotas = HostQuotas(path, 0, window_s=1e9)
    (lease,) = take(quotas, Tier("t", tokens_per_minute=10**9, max_in_flight=1), 1)
    assert lease.headers()["x-ratelimit-remaining-tokens"] == str(10**9 - 3 * limit)
    asyncio.run(quotas.aclose())


def test_a_killed_workers_places_are_free_with_its_next_life(
    path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """While it lives nobody else gets them; killed, the parent frees them at once, and those of others stay."""
    tier = Tier("t", max_in_flight=5)
    holder = start("hold", 1, 3)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "3\n"
    quotas = HostQuotas(path, 0, window_s=1e9)
    own = take(quotas, tier, 5)
    assert len(own) == 2
    holder.kill()
    holder.wait()
    assert take(quotas, tier, 1) == []

    parent = HostTable(path)
    parent.begin_life(1)
    parent.close()
    assert len(take(quotas, tier, 5)) == 3
    asyncio.run(quotas.aclose())


def test_a_frozen_worker_holds_nobody_up_for_long(
    path: Path, start: Callable[..., subprocess.Popen[str]], caplog: pytest.LogCaptureFixture
) -> None:
    """Who waits in vain for its lock counts alone, at a quarter, without waiting again; tokens are not lost."""
    now_s = 6000.0
    quotas = HostQuotas(path, 0, clock=lambda: now_s)
    tier = Tier("t", requests_per_minute=100, tokens_per_minute=1000)
    (lease,) = take(quotas, tier, 1)
    frozen = start("lock", 1)
    assert frozen.stdout is not None
    assert frozen.stdout.readline() == "1\n"
    began = time.monotonic()
    assert len(take(quotas, tier, 200)) == 25
    asyncio.run(lease.release(tokens=400))
    assert time.monotonic() - began < 5
    assert [record.message.split(",")[0] for record in caplog.records] == ["quotas: counting alone for 5 s"]

    frozen.kill()
    frozen.wait()
    now_s += ALONE_S
    (together, *_rest) = leases = take(quotas, tier, 200)
    assert len(leases) == 99
    assert together.headers()["x-ratelimit-remaining-tokens"] == "600"
    asyncio.run(quotas.aclose())


def test_keys_beyond_a_full_table_count_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A key that finds no slot gets each worker's share, which the log says once."""
    create_table(tmp_path / "small", 2, 1)
    workers = [HostQuotas(tmp_path / "small", index) for index in range(2)]
    tier = Tier("t", requests_per_minute=10)
    for number in range(SLOTS_A_BUCKET):
        assert len(take(workers[0], tier, 12, Key(f"key{number}", to_digest("k"), "t"))) == 10
    late = Key("late", to_digest("late"), "t")

    assert [len(take(worker, tier, 12, late)) for worker in workers] == [5, 5]
    assert len(take(workers[1], tier, 12, Key("key0", to_digest("k"), "t"))) == 0
    assert [record.message for record in caplog.records] == [
        "quotas: more keys are busy than the host's table holds; some count alone"
    ] * 2
    for worker in workers:
        asyncio.run(worker.aclose())


def test_replicas_and_closed_workers(path: Path) -> None:
    """One of two hosts grants half; a worker that closes leaves no place taken; no limits, no counting."""
    one, other = HostQuotas(path, 0, 2), HostQuotas(path, 1, 2)
    tier = Tier("t", max_in_flight=4)
    assert len(take(one, tier, 5)) == 2
    assert take(other, tier, 5) == []
    asyncio.run(one.aclose())
    assert len(take(other, tier, 5)) == 2
    assert asyncio.run(other.admit(KEY, Tier("t"))) is UNLIMITED
    asyncio.run(other.aclose())
    with pytest.raises(HostTableInvalid, match="no worker 4"):
        HostQuotas(path, WORKERS)


def test_a_window_that_begins_while_one_waits_for_the_lock_is_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others counted in it meanwhile is not forgotten for a request that was sent before it began."""
    now_s = 6059.9
    late, other = (HostQuotas(path, index, clock=lambda: now_s) for index in range(2))
    tier = Tier("t", requests_per_minute=10)
    lock = late._table.lock

    def lock_late(bucket: int) -> bool:
        nonlocal now_s
        now_s = 6060.1
        with ThreadPoolExecutor() as pool:  # this thread's loop is busy
            assert len(pool.submit(take, other, tier, 20).result()) == 10
        return lock(bucket)

    monkeypatch.setattr(late._table, "lock", lock_late)
    assert take(late, tier, 1) == []
    for quotas in (late, other):
        asyncio.run(quotas.aclose())


def test_garbage_in_the_table_is_forgotten(path: Path) -> None:
    """Random bytes over all slots: nobody crashes, and two windows later everybody has their limits."""
    now_s = 600_000.0
    quotas = HostQuotas(path, 2, clock=lambda: now_s)
    tier = Tier("t", 100, 1000, 7)
    take(quotas, tier, 1)
    with path.open("r+b") as table:
        table.seek(len(MAGIC) + 16 + 8 * WORKERS)
        table.write(os.urandom(path.stat().st_size - table.tell()))
    take(quotas, tier, 10)
    assert all(
        len(take(quotas, tier, 10, Key(f"key{number}", to_digest("k"), "t"))) <= 7 for number in range(100)
    )
    now_s += 180
    assert len(take(quotas, tier, 10, Key("fresh", to_digest("k"), "t"))) == 7
    asyncio.run(quotas.aclose())


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("admit"), st.integers(0, 1), st.integers(1, 4), st.integers(0, 2)),
        st.tuples(st.just("release"), st.integers(0, 30), st.integers(0, 50), st.just(0)),
        st.tuples(st.just("wait"), st.floats(0.01, 90.0), st.just(0), st.just(0)),
    ),
    max_size=60,
)
TIERS = (Tier("t", 12, 100, 3), Tier("t", None, 60, None), Tier("t", 6, None, 5))


@settings(max_examples=150, deadline=None)
@given(OPERATIONS)
def test_the_answers_are_those_of_one_process(operations: list[tuple[str, float, int, int]]) -> None:
    """Two workers in turn answer as one process that counts in memory, to the last header."""
    now_s = 6000.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quotas.table"
        create_table(path, 2, 1)
        options = {"clock": lambda: now_s, "jitter": lambda: 0.5}
        alone = MemoryQuotas(**options)
        workers = [HostQuotas(path, index, **options) for index in range(2)]
        turns = itertools.cycle(workers)
        leases: list[tuple[Lease, Lease]] = []
        for verb, first, second, third in operations:
            if verb == "wait":
                now_s += first
            elif verb == "release":
                if leases:
                    pair = leases.pop(int(first) % len(leases))
                    for lease in pair:
                        asyncio.run(lease.release(second))
            else:
                key = Key(f"key{first}", to_digest("k"), "t")
                expected = _answer(alone, key, TIERS[third], second)
                given_answer = _answer(next(turns), key, TIERS[third], second)
                assert given_answer[1:] == expected[1:]
                if expected[0] is not None and given_answer[0] is not None:
                    leases.append((expected[0], given_answer[0]))
        for worker in workers:
            asyncio.run(worker.aclose())


def _answer(
    quotas: Quotas, key: Key, tier: Tier, cost: int
) -> tuple[Lease | None, str, float | None, dict[str, str]]:
    """Return the lease, and all that a caller sees."""
    try:
        lease = asyncio.run(quotas.admit(key, tier, cost))
    except RateLimited as error:
        return None, error.message, error.retry_after_s, error.headers
    return lease, "", None, lease.headers()


def test_counting_together_costs_microseconds(path: Path) -> None:
    """Within 15 µs of CPU on an idle core for admitting and releasing; 60 leaves room for a busy machine."""

    async def measure() -> float:
        quotas = HostQuotas(path, 0)
        tier = Tier("t", 10**9, 10**9, 10)
        best_s = 1.0
        for _ in range(5):
            began = time.process_time()
            for _ in range(2000):
                lease = await quotas.admit(KEY, tier)
                await lease.release(5)
            best_s = min(best_s, (time.process_time() - began) / 2000)
        await quotas.aclose()
        return best_s

    assert asyncio.run(measure()) < 60e-6
