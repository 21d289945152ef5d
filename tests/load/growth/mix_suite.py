"""
What the capacity model is fed with and checked against: mixed lengths, some texts known, with and without Redis.

The shares 0 and 1 feed the model (`tests.load.capacity`), those between check it.
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import redis
import uvloop

from tests.facade.redis_server import RedisServer
from tests.load import machine
from tests.load.growth.drive import Drive, drive
from tests.load.growth.models import WHOLE, least_bytes, make_requests, read_vocabulary
from tests.load.growth.series import Figure, Growth, measure_points
from tests.load.texts import make_texts as make_log_normal
from tests.stack import KEY, MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.load.growth.drive import Figures
    from tests.load.growth.request_suites import Bench
    from tests.load.stage import Stage

KNOWN_PERCENT = (0, 30, 60, 90, 100)
CALLERS = 32
KNOWN_TEXTS = 200
TOKENS_A_TEXT = 29
"""Mean of the log-normal lengths, special tokens included; tests/load/texts.py."""

REDIS_STATS = ("total_commands_processed", "total_net_input_bytes", "total_net_output_bytes")


def run_mix(bench: Bench) -> Growth:
    """Measure requests of which 0 to 100 % are known, counted and kept in one process."""
    with bench.stage(WHOLE) as stage:
        return _run(bench, stage, None)


def run_mix_redis(bench: Bench) -> Growth:
    """Measure the same with quotas counted, and answers shared, through Redis."""
    with bench.stage(WHOLE) as stage, RedisServer() as server:
        return _run(bench, stage, server)


def _run(bench: Bench, stage: Stage, server: RedisServer | None) -> Growth:
    settings = {"FACADE_REDIS_URL": server.url} if server else {}
    facade = stage.start_facade(FACADE_KEYS_FILE=str(stage.write_keys_file()), **settings)
    words = read_vocabulary(stage.tokenizer_file)
    address = facade.url.removeprefix("http://")
    programs = {"facade": facade.process.pid, "triton": stage.triton_pid}
    if server:
        programs["redis"] = server.pid
    known = list(itertools.islice(make_log_normal(words, "log-normal", "known", "growth"), KNOWN_TEXTS))
    maker = make_requests(address, MODEL_NAME, iter(known), 1, KEY)
    known_requests = [next(maker) for _ in known]
    _send_once(address, programs, known_requests)

    def run_one(percent: float, number: int) -> Figures:
        new_texts = make_log_normal(words, "log-normal", f"new {number}", f"{percent}")
        new = make_requests(address, MODEL_NAME, new_texts, 1, KEY)
        machine.wait_for_calm({key: machine.tree_of(pid) for key, pid in programs.items()}, 5.0, 0.2)
        load = Drive(
            address,
            _mixed(known_requests, new, percent / 100),
            callers=CALLERS,
            texts_a_request=1,
            least_bytes=least_bytes(WHOLE, 1),
            programs=programs,
            warmup_s=bench.warmup_s,
            measure_s=bench.measure_s,
        )
        before = _read_redis(server)
        figures = uvloop.run(drive(load))
        # Redis counts the warm-up too: shares of a request are right, as it is the same traffic.
        asked = figures["requests"] * (1 + bench.warmup_s / bench.measure_s)
        for name, value in _read_redis(server).items():
            figures[f"redis_{name}_a_request"] = (value - before[name]) / asked
        if percent < 100:
            computed = 1 - percent / 100
            figures["triton_cpu_us_a_token"] = figures["triton_cpu_us_a_text"] / computed / TOKENS_A_TEXT
        return figures

    points = measure_points(KNOWN_PERCENT, run_one, bench.rounds, bench.say, bench.limit_s)
    figures = [
        Figure("facade_cpu_us_a_request", "façade CPU, µs a request", is_cost=False),
        Figure("triton_cpu_us_a_token", "Triton CPU, µs a computed token", decimals=1),
        Figure("requests_per_s", "requests/s", is_cost=False),
        Figure("p99_ms", "p99, ms", is_cost=False),
        Figure("generator_cpu_us_a_text", "load generator CPU, µs a request", is_cost=False),
    ]
    if server:
        figures += [
            Figure("redis_cpu_us_a_request", "Redis CPU, µs a request", is_cost=False, decimals=1),
            *(
                Figure(f"redis_{name}_a_request", f"Redis {name}, a request", is_cost=False)
                for name in REDIS_STATS
            ),
        ]
    return Growth(
        name="mix-redis" if server else "mix",
        title="Known and new texts" + (", with Redis" if server else ""),
        about=(
            f"Closed loop of {CALLERS} callers, one text a request, log-normal lengths of {TOKENS_A_TEXT} tokens on "
            f"average, all-MiniLM-L6-v2, a key with every limit. The known are {KNOWN_TEXTS} texts that are in the "
            "façade's memory."
            + (" Quotas are counted in Redis, and it is the cache's second tier." if server else "")
        ),
        axis="% of texts known",
        figures=figures,
        points=points,
    )


def _send_once(address: str, programs: dict[str, int], requests: list[bytes]) -> None:
    """Have every known text computed."""
    load = Drive(
        address,
        itertools.cycle(requests),
        callers=4,
        texts_a_request=1,
        least_bytes=least_bytes(WHOLE, 1),
        programs=programs,
        warmup_s=3.0,
        measure_s=0.1,
    )
    uvloop.run(drive(load))


def _mixed(known: list[bytes], new: Iterator[bytes], share: float) -> Iterator[bytes]:
    """Mix known and new requests at random, *share* of them known."""
    source = random.Random(share)
    ahead = itertools.chain([next(new) for _ in range(3000)] if share < 1 else [], new)
    while True:
        yield source.choice(known) if source.random() < share else next(ahead)


def _read_redis(server: RedisServer | None) -> dict[str, int]:
    if server is None:
        return {}
    with redis.Redis.from_url(server.url) as client:
        stats = client.info("stats")
    return {name: int(stats[name]) for name in REDIS_STATS}
