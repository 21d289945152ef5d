"""
How cost grows with cached entries: in a process's memory, and in Redis.

The memory tier is measured in a process of its own for each size, so that what it takes is its own
(``python -m tests.load.growth.cache_suites SIZE``); Redis through the façade's own Redis tier, on loopback.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import redis

from facade.cache.keys import ItemKeys, model_prefix
from facade.cache.memory import MemoryTier
from facade.cache.redis_nodes import RedisLimits
from facade.cache.redis_tier import LookupState, RedisTier
from tests.facade.redis_server import RedisServer
from tests.load import machine
from tests.load.growth.series import Figure, Growth, Point, measure_points
from tests.load.measure import BenchFailed
from tests.stack import MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.load.growth.drive import Figures
    from tests.load.growth.request_suites import Bench

MEMORY_ENTRIES = (1_000, 10_000, 100_000, 1_000_000)
REDIS_ENTRIES = (1_000, 10_000, 100_000, 300_000)
"""300,000 take some 600 MiB; a shard's cost a command doesn't depend on more of them."""

VALUE_BYTES = 4 + 4 * 384
"""An answer as the cache keeps it: the number of tokens, then 384 float32."""

LOOKS = 20_000
"""Operations of one kind in one measurement."""

REDIS_LOOKS = 5_000
"""Round trips of one kind in one measurement of Redis."""

CHUNK = 64
"""Keys in one round trip to Redis: a full batch."""

LEAST_TIMED = 5_000
"""Fewer writes are too few for a clock of 10 ms, as CPU time is counted in."""

TTL_S = 3600.0
NO_BOUND = 2**50


def run_memory(bench: Bench) -> Growth:
    """Measure the memory tier with 1,000 to 1,000,000 answers."""

    def run_one(entries: float, _number: int) -> Figures:
        command = [sys.executable, "-m", "tests.load.growth.cache_suites", str(int(entries))]
        done = subprocess.run(
            command, cwd=machine.CHECKOUT, capture_output=True, text=True, check=True, timeout=300
        )
        found: Figures = json.loads(done.stdout)
        return found

    sizes = MEMORY_ENTRIES[:-1] if bench.is_quick else MEMORY_ENTRIES
    return Growth(
        name="cache",
        title="Answers in a process's memory",
        about=(
            f"facade.cache.memory.MemoryTier alone, answers of 384 components ({VALUE_BYTES:,} bytes), keys as the "
            f"façade makes them, in random order; {LOOKS:,} operations of each kind. Bytes an answer are what the "
            "process grew by (RSS), beside what the tier counts for its bound."
        ),
        axis="answers",
        figures=[
            Figure("get_us", "get, known, µs", CPU_CACHE, 2),
            Figure("miss_us", "get, unknown, µs", CPU_CACHE, 2),
            Figure("set_us", "set, µs", CPU_CACHE, 2),
            Figure("evict_us", "set at the bound, which drops the oldest, µs", CPU_CACHE, 2),
            Figure("bytes_an_entry", "memory, bytes an answer", SMALL),
            Figure("counted_bytes_an_entry", "counted by the tier, bytes an answer"),
            Figure("longest_set_ms", "longest set, ms", RESIZE, 1),
            Figure("collect_ms", "one full garbage collection, ms", COLLECTOR, 1),
            Figure("forget_ms", "forget a model that has no answer here, ms", FORGET, 1),
        ],
        points=measure_points(sizes, run_one, bench.rounds, bench.say, bench.limit_s),
    )


SMALL = "A thousand answers fit into memory that the process had already: it is flat from 10,000 on."
CPU_CACHE = (
    "Still microseconds, random keys of a larger table are less often in the "
    "processor's caches (the likely reason; not profiled)."
)
RESIZE = (
    "The table doubles, or the garbage collector looks through it, within one set: rare, in proportion to what is "
    "held; the two were not told apart."
)
COLLECTOR = "It looks at every key; some 25 ms of it are for the modules that are loaded anyway."
FORGET = (
    "It looks at every key, in one turn of the event loop: a purge holds a worker up for 0.4 s a million answers, or "
    "for some 14 ms at the default bound of 64 MiB."
)


def make_keys(count: int) -> list[bytes]:
    """Make keys as the façade does."""
    maker = ItemKeys(scope="shared", model=MODEL_NAME, version=1, task="embedding", parameters={})
    return [maker.key(b"%d" % number) for number in range(count)]


def measure_memory(count: int) -> Figures:
    """
    Fill the tier of this process and time its operations.

    Args:
        count: Entries.

    Returns:
        Figures by name.
    """
    keys = make_keys(count + LOOKS)
    present, further = keys[:count], keys[count:]
    unknown = [b"%b?" % key for key in further]
    shuffled = random.Random(count).choices(present, k=LOOKS)
    tier = MemoryTier(NO_BOUND)
    gc.collect()
    before_mib = machine.memory_of(os.getpid()).rss_mib
    longest_s = 0.0
    for number, key in enumerate(present):
        # A value of its own each time, as one comes from Triton.
        value = number.to_bytes(VALUE_BYTES, "little")
        began = time.perf_counter()
        tier.set(key, value, TTL_S)
        longest_s = max(longest_s, time.perf_counter() - began)
    grown_mib = machine.memory_of(os.getpid()).rss_mib - before_mib
    figures = {
        "bytes_an_entry": grown_mib * 2**20 / count,
        "counted_bytes_an_entry": (tier.size_bytes / count),
        "longest_set_ms": longest_s * 1000,
        "get_us": _time_us(tier.get, shuffled),
        "miss_us": _time_us(tier.get, unknown),
        "set_us": _time_us(lambda key: tier.set(key, value, TTL_S), further),
    }
    tier.limit_bytes = tier.size_bytes
    figures["evict_us"] = _time_us(lambda key: tier.set(key, value, TTL_S), unknown)
    figures["collect_ms"] = _time_us(lambda _: gc.collect(), [b""]) / 1000
    figures["forget_ms"] = _time_us(tier.forget, [model_prefix("another")]) / 1000
    return figures


def _time_us(operate: Callable[[bytes], object], keys: list[bytes]) -> float:
    """Time one operation, on average over all *keys*."""
    started = time.perf_counter()
    for key in keys:
        operate(key)
    return (time.perf_counter() - started) / len(keys) * 1e6


def run_redis(bench: Bench) -> Growth:
    """Measure the Redis tier with 1,000 to 300,000 answers."""
    sizes = REDIS_ENTRIES[:-1] if bench.is_quick else REDIS_ENTRIES
    with RedisServer() as server:
        # Filled further and further; a round goes over what is there, so sizes come in ascending order only.
        filled = 0

        def run_one(entries: float) -> Figures:
            nonlocal filled
            figures = asyncio.run(measure_redis(server, filled, int(entries)))
            filled = int(entries)
            return figures

        points = []
        for size in sizes:
            points.append(Point(size, [run_one(size) for _ in range(bench.rounds)]))
            bench.say(f"  {size:,}: {points[-1].rounds}")
    return Growth(
        name="redis",
        title="Answers in Redis",
        about=(
            "facade.cache.redis_tier.RedisTier and one redis-server on loopback, without persistence. Answers of "
            f"{VALUE_BYTES:,} bytes; {REDIS_LOOKS:,} lookups one by one and in round trips of {CHUNK}; writes in "
            f"pipelines of {CHUNK}. Redis's CPU time is its process's own."
        ),
        axis="answers",
        figures=[
            Figure("get_one_us", "one lookup, wall time, µs"),
            Figure("get_chunk_us", f"lookup in a round trip of {CHUNK}, wall time, µs an answer", decimals=1),
            Figure("redis_get_cpu_us", "lookup one by one, Redis CPU, µs", CPU_CACHE, 1),
            Figure("redis_get_chunk_cpu_us", f"lookup by {CHUNK}, Redis CPU, µs an answer", CPU_CACHE, 2),
            Figure("set_us", f"write in a pipeline of {CHUNK}, wall time, µs an answer", decimals=1),
            Figure("redis_set_cpu_us", "write, Redis CPU, µs an answer", decimals=2),
            Figure("bytes_an_entry", "Redis memory, bytes an answer"),
        ],
        points=points,
    )


async def measure_redis(server: RedisServer, filled: int, count: int) -> Figures:
    """
    Fill a Redis further and time the tier's operations.

    Args:
        server: The Redis, which holds *filled* entries.

        filled: How many.

        count: How many it is to hold.

    Returns:
        Figures by name.
    """
    figures: Figures = {}
    pid = {server.pid}
    # Patience beyond what the façade has: a lookup that isn't answered in time would be a miss, and no figure.
    tier = RedisTier(server.url, limits=RedisLimits(lookup_budget_s=5.0))
    keys = make_keys(count)
    random.Random(count).shuffle(keys)
    try:
        if count > filled:
            new = make_keys(count)[filled:]
            used_s, started = machine.cpu_s(pid), time.perf_counter()
            for start in range(0, len(new), CHUNK):
                tier.set_many({key: bytes(VALUE_BYTES) for key in new[start : start + CHUNK]}, TTL_S)
                await tier.drain(30)
            if len(new) >= LEAST_TIMED:
                figures["set_us"] = (time.perf_counter() - started) / len(new) * 1e6
                figures["redis_set_cpu_us"] = (machine.cpu_s(pid) - used_s) / len(new) * 1e6
        await tier.get_many(keys[:CHUNK])
        for chunk, wall, cpu in (
            (1, "get_one_us", "redis_get_cpu_us"),
            (CHUNK, "get_chunk_us", "redis_get_chunk_cpu_us"),
        ):
            asked, used_s, started = 0, machine.cpu_s(pid), time.perf_counter()
            while asked < REDIS_LOOKS * (1 if chunk == 1 else 8):
                first = asked % max(1, count - chunk)
                found = await tier.get_many(keys[first : first + chunk])
                if any(one.state is not LookupState.HIT for one in found):
                    raise BenchFailed("Redis lost an answer")
                asked += chunk
            figures[wall] = (time.perf_counter() - started) / asked * 1e6
            figures[cpu] = (machine.cpu_s(pid) - used_s) / asked * 1e6
    finally:
        await tier.aclose()
    with redis.Redis.from_url(server.url) as client:
        memory = client.info("memory")
        figures["bytes_an_entry"] = (memory["used_memory"] - memory["used_memory_startup"]) / count
    return figures


CACHE_SUITES = {"cache": run_memory, "redis": run_redis}
"""Suites about cached answers by their name on the command line."""

if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure_memory(int(sys.argv[1]))))
