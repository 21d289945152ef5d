"""How cost grows with the number of models: one Triton that loads more and more of them, one façade that follows."""

from __future__ import annotations

import itertools
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import uvloop

from tests.load import machine
from tests.load.growth.drive import Drive, drive, read_memory
from tests.load.growth.models import TINY, least_bytes, make_requests, make_texts, read_vocabulary
from tests.load.growth.series import Figure, Growth, Point
from tests.load.measure import BenchFailed, read_triton_counts
from tests.load.stage import Variant, add_variant
from tests.stack import KEY, MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.load.growth.drive import Figures
    from tests.load.growth.request_suites import Bench
    from tests.load.stage import Stage
    from tests.stack import Facade

MODELS = (1, 5, 10, 20)
CALLERS = 16
TOKENS = 12
IDLE_S = 5.0
"""Seconds without load in which the idle cost is read: the façade asks for the list of models once a second."""

MEMORY_A_MODEL_MIB = 400.0
"""More than a door and a core of the tiny model take; no model is added where less than twice that is free."""


def run_models(bench: Bench) -> Growth:
    """Measure what 1 to 20 models cost, each with a door and a core in processes of their own."""
    points: list[Point] = []
    notes = []
    with bench.stage(TINY) as stage:
        facade = stage.start_facade(FACADE_CACHE_MEMORY_BYTES="0")
        names = [MODEL_NAME]
        for count in MODELS[:-1] if bench.is_quick else MODELS:
            loads_s = []
            while len(names) < count and _free_mib() > 2 * MEMORY_A_MODEL_MIB:
                names.append(f"model{len(names) + 1:02}")
                loads_s.append(_add_model(stage, names[-1]))
            if len(names) < count:
                notes.append(
                    f"Stopped at {len(names)} models: only {_free_mib():.0f} MiB of memory were free."
                )
                break
            _await_models(facade, count)
            points.append(Point(count, []))
            for number in range(1, bench.rounds + 1):
                figures = _measure(bench, stage, facade, names, number)
                if loads_s and number == 1:
                    figures["load_s"] = sum(loads_s) / len(loads_s)
                points[-1].rounds.append(figures)
                bench.say(f"  {count} models, round {number}: {figures}")
    return Growth(
        name="models",
        title="Models",
        about=(
            f"One Triton and one façade without a cache; {CALLERS} callers in a closed loop ask for the models in "
            f"turn, one unique text of {TOKENS} tokens a request. Each model is a tiny BERT (hidden size 32) with a "
            "door and a core of its own, one instance and one thread each, but for the first, which has two. Idle: "
            f"{IDLE_S:.0f} s without a request."
        ),
        axis="models",
        figures=[
            Figure("facade_cpu_us_a_text", "façade CPU, µs a text", COMPANY),
            Figure("triton_cpu_us_a_text", "Triton CPU, µs a text", COMPANY),
            Figure("wall_us_a_text", "wall time, µs a text", COMPANY),
            Figure("facade_idle_cpu_us_a_model", "façade CPU when idle, µs a second and model", decimals=0),
            Figure("triton_idle_cpu_us_a_model", "Triton CPU when idle, µs a second and model", decimals=0),
            Figure("facade_mib_a_model", "façade memory, MiB a model", decimals=1),
            Figure("triton_mib_a_model", "Triton memory (PSS), MiB a model", decimals=0),
            Figure("load_s", "time to load one more, s", decimals=1),
            Figure("texts_a_call", "texts in a call to a door", decimals=1, is_cost=False),
            Figure("p99_ms", "p99, ms", is_cost=False),
        ],
        points=points,
        notes=notes,
    )


COMPANY = (
    "The same callers are spread over more models: each request meets fewer others to share a call with, and in the "
    "end has a call of its own."
)


def _measure(bench: Bench, stage: Stage, facade: Facade, names: list[str], number: int) -> Figures:
    programs = {"facade": facade.process.pid, "triton": stage.triton_pid}
    load = Drive(
        facade.url.removeprefix("http://"),
        _in_turn(stage, facade, names, number),
        callers=CALLERS,
        texts_a_request=1,
        least_bytes=least_bytes(TINY, 1),
        programs=programs,
        warmup_s=bench.warmup_s,
        measure_s=bench.measure_s,
    )
    before_counts = _count_calls(stage, names)
    figures = uvloop.run(drive(load))
    texts, calls = (
        after - earlier for after, earlier in zip(_count_calls(stage, names), before_counts, strict=True)
    )
    figures["texts_a_call"] = texts / max(calls, 1)
    trees = {name: machine.tree_of(pid) for name, pid in programs.items()}
    before = {name: machine.cpu_s(pids) for name, pids in trees.items()}
    time.sleep(IDLE_S)
    count = len(names)
    for name, pids in trees.items():
        figures[f"{name}_idle_cpu_us_a_model"] = (machine.cpu_s(pids) - before[name]) / IDLE_S / count * 1e6
    figures["facade_mib_a_model"] = read_memory(trees["facade"])["rss_mib"] / count
    figures["triton_mib_a_model"] = read_memory(trees["triton"])["pss_mib"] / count
    return figures


def _count_calls(stage: Stage, names: list[str]) -> tuple[int, int]:
    """Add up the texts and the batches that all doors have run."""
    counts = read_triton_counts(stage.triton.http_url, {name: name for name in names})
    return (
        sum(value for name, value in counts.items() if name.endswith("_inferences")),
        sum(value for name, value in counts.items() if name.endswith("_executions")),
    )


def _in_turn(stage: Stage, facade: Facade, names: list[str], number: int) -> Iterator[bytes]:
    """Make requests to one model after the other."""
    words = read_vocabulary(stage.tokenizer_file)
    address = facade.url.removeprefix("http://")
    texts = make_texts(words, TOKENS, number * 50_000)
    sources = [make_requests(address, name, texts) for name in names]
    for source in itertools.cycle(sources):
        yield next(source)


def _add_model(stage: Stage, name: str) -> float:
    """Put one more model on disk and have Triton load it; returns the seconds that the loading took."""
    add_variant(stage.repository, Variant(name, core={"instances": 1, "threads": 1}, door_instances=1))
    started = time.perf_counter()
    for part in (f"{name}_core", name):
        request = urllib.request.Request(
            f"http://{stage.triton.http_url}/v2/repository/models/{part}/load", data=b"{}", method="POST"
        )
        with urllib.request.urlopen(request, timeout=120):  # noqa: S310
            pass
    return time.perf_counter() - started


def _await_models(facade: Facade, count: int, timeout_s: float = 20) -> None:
    """Wait until the façade lists so many models."""
    end = time.monotonic() + timeout_s
    while True:
        listed = httpx.get(f"{facade.url}/v1/models", headers={"authorization": f"Bearer {KEY}"}).json()
        if len(listed["data"]) == count:
            return
        if time.monotonic() > end:
            raise BenchFailed(f"the façade lists {len(listed['data'])} models instead of {count}")
        time.sleep(0.1)


def _free_mib() -> float:
    """Read how much memory programs could still get."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 1024
    return 0.0
