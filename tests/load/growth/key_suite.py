"""How cost grows with the keys file: a request's way in, the start, memory, and what a reload does to others."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvloop

from tests.load.client import Connection
from tests.load.growth.drive import Drive, drive, read_memory
from tests.load.growth.models import SHALLOW, least_bytes, make_requests, make_texts, read_vocabulary
from tests.load.growth.request_suites import SHORT_TOKENS
from tests.load.growth.series import Figure, Growth, measure_points
from tests.load.measure import BenchFailed
from tests.load.stage import NO_LIMIT, Stage
from tests.stack import MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.load.growth.drive import Figures
    from tests.load.growth.request_suites import Bench
    from tests.stack import Facade

KEYS = (10, 100, 1_000, 10_000, 100_000)
CALLERS = 8
USED_KEYS = 20_000
"""Most different keys that call in one measurement: each has an account of its own then."""

LEAST_COUNTED = 1_000
"""Fewer keys are lost in what a start and a process of 60 MiB vary by."""

RELOAD_TIMEOUT_S = 90.0
PROBE_EVERY_S = 0.01


def secret_of(number: int) -> str:
    """Write the secret of a key."""
    return f"key-{number:08}-of-the-growth-suite"


def write_keys(path: Path, count: int, first: int = 0) -> None:
    """
    Write a keys file whose keys have every limit, none of which is ever reached.

    Args:
        path: The file; it is replaced at once.

        count: How many keys.

        first: Number of the first.
    """
    tier = {
        "requests_per_minute": NO_LIMIT,
        "tokens_per_minute": NO_LIMIT,
        "max_in_flight": NO_LIMIT,
        "priority": 1,
    }
    lines = [f"tiers: {json.dumps({'standard': tier})}", "keys:"]
    for number in range(first, first + count):
        digest = hashlib.sha256(secret_of(number).encode()).hexdigest()
        lines.append(f'  - {{name: caller{number:08}, sha256: "{digest}", tier: standard}}')
    new = path.with_suffix(".new")
    new.write_text("\n".join(lines) + "\n", encoding="ascii")
    new.chmod(0o600)
    new.replace(path)


@dataclass(frozen=True)
class _Served:
    """A façade with a keys file of one size."""

    facade: Facade
    file: Path
    count: int
    start_s: float
    rest_mib: float


def run_keys(bench: Bench) -> Growth:
    """Measure a request's cost, the start, memory and reloads with 10 to 100,000 keys."""
    sizes = KEYS[:-1] if bench.is_quick else KEYS
    with bench.stage(SHALLOW) as stage:
        text = next(make_texts(read_vocabulary(stage.tokenizer_file), SHORT_TOKENS))
        served = {count: _start(stage, count) for count in sizes}
        bench.say("  started: " + ", ".join(f"{one.count:,} {one.start_s:.1f} s" for one in served.values()))
        reloads = {count: uvloop.run(_reload(one, text)) for count, one in served.items()}
        bench.say(f"  reloads: {reloads}")

        def run_one(count: float, number: int) -> Figures:
            one = served[int(count)]
            load = Drive(
                one.facade.url.removeprefix("http://"),
                _by_keys(one, text, number),
                callers=CALLERS,
                texts_a_request=1,
                least_bytes=least_bytes(SHALLOW, 1),
                programs={"facade": one.facade.process.pid},
                warmup_s=bench.warmup_s,
                measure_s=bench.measure_s,
            )
            figures = uvloop.run(drive(load))
            if number == 1:
                figures |= _once(one, served[sizes[0]], reloads[one.count], reloads[sizes[0]])
            return figures

        points = measure_points(sizes, run_one, bench.rounds, bench.say, bench.limit_s)
    return Growth(
        name="keys",
        title="Keys in the keys file",
        about=(
            f"{CALLERS} callers in a closed loop, the same text in every request, answered from memory; the keys take "
            f"turns, up to {USED_KEYS:,} of them, drawn over the whole file. All façades run at once and are idle but "
            "for the one that is measured. A reload: the file is replaced by one with a key more; it is over when that "
            "key is let in. Meanwhile one caller asks every 10 ms, and its longest wait is the standstill. What a key "
            "costs is counted beyond the façade with 10."
        ),
        axis="keys",
        figures=[
            Figure("facade_cpu_us_a_request", "façade CPU, µs a request"),
            Figure("p99_ms", "p99, ms", decimals=1),
            Figure("bytes_a_key", "façade memory, bytes a key", FITS),
            Figure("start_us_a_key", "start, µs a key"),
            Figure("reload_us_a_key", "reload, µs a key"),
            Figure("start_s", "start, s", decimals=1, is_cost=False),
            Figure("reload_s", "reload, s", decimals=1, is_cost=False),
            Figure("standstill_ms", "standstill while reloading, ms", PARTS, 1),
            Figure(
                "reload_kept_mib", "memory after three reloads less before, MiB", decimals=1, is_cost=False
            ),
        ],
        points=points,
    )


FITS = "A thousand keys fit into memory that the process had already: it is flat from 10,000 on."
PARTS = (
    "The file is read by a process of its own, which shares the cores; its keys are taken in a part at a time. It "
    "isn't in proportion to the keys."
)


def _once(one: _Served, fewest: _Served, reload: Figures, least: Figures) -> Figures:
    """Write what was measured once at each size; what a key costs is beyond the façade with the fewest."""
    more = one.count - fewest.count
    figures = {"start_s": one.start_s, **reload}
    if one.count >= LEAST_COUNTED:
        figures["bytes_a_key"] = (one.rest_mib - fewest.rest_mib) * 2**20 / more
        figures["start_us_a_key"] = (one.start_s - fewest.start_s) / more * 1e6
        figures["reload_us_a_key"] = (reload["reload_s"] - least["reload_s"]) / more * 1e6
    return figures


def _start(stage: Stage, count: int) -> _Served:
    file = stage.folder / f"keys-{count}.yaml"
    write_keys(file, count)
    started = time.perf_counter()
    facade = stage.start_facade(
        FACADE_KEYS_FILE=str(file), FACADE_FAILURES_PER_MINUTE=str(NO_LIMIT), FACADE_LOG_LEVEL="warning"
    )
    took_s = time.perf_counter() - started
    return _Served(facade, file, count, took_s, read_memory({facade.process.pid})["rss_mib"])


def _by_keys(one: _Served, text: str, number: int) -> Iterator[bytes]:
    """Make requests of one key after the other, in an order of the round's own."""
    numbers = random.Random(number).sample(range(one.count), min(one.count, USED_KEYS))
    address = one.facade.url.removeprefix("http://")
    made = [
        next(make_requests(address, MODEL_NAME, itertools.repeat(text), key=secret_of(key)))
        for key in numbers
    ]
    return itertools.cycle(made)


async def _reload(one: _Served, text: str) -> Figures:
    """Replace the keys file three times; returns the longest reload and standstill, and the memory that stays."""
    before_mib = read_memory({one.facade.process.pid})["rss_mib"]
    took_s, longest_ms = 0.0, 0.0
    for number in range(1, 4):
        write_keys(one.file, one.count + number)
        newest = secret_of(one.count + number - 1)
        reload_s, standstill_ms = await _await_key(one, text, newest)
        took_s, longest_ms = max(took_s, reload_s), max(longest_ms, standstill_ms)
    await asyncio.sleep(1)
    kept_mib = read_memory({one.facade.process.pid})["rss_mib"] - before_mib
    return {"reload_s": took_s, "standstill_ms": longest_ms, "reload_kept_mib": kept_mib}


async def _await_key(one: _Served, text: str, newest: str) -> tuple[float, float]:
    """Ask with a known key steadily, and with the newest now and then, until that one is let in."""
    address = one.facade.url.removeprefix("http://")
    host, port = address.rsplit(":", 1)
    connection = await Connection.open(host, int(port))
    known, new = (
        next(make_requests(address, MODEL_NAME, itertools.repeat(text), key=key))
        for key in (secret_of(0), newest)
    )
    longest_s = 0.0
    with contextlib.closing(connection):
        await connection.exchange(known)  # computed once, from memory from now on
        started = due = time.perf_counter()
        while True:
            for request in (known, new):
                due = max(due + PROBE_EVERY_S, time.perf_counter() - PROBE_EVERY_S)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                answer = await connection.exchange(request)
                longest_s = max(longest_s, time.perf_counter() - due)
            now = time.perf_counter()
            if answer.status == 200:
                return now - started, longest_s * 1000
            if now - started > RELOAD_TIMEOUT_S:
                raise BenchFailed(f"a keys file of {one.count} keys wasn't read in {RELOAD_TIMEOUT_S:.0f} s")
