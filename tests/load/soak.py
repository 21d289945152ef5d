"""
The soak: steady load for a long while, and meanwhile the memory, file descriptors, threads, tasks and shared memory.

Run it with ``make soak`` or ``python -m tests.load.soak``. Texts are never repeated, so the façade's cache fills up to
its bound; the bound is chosen so small that it is full within the first minute, or its filling would look like a leak.
``bench-results/<date>-soak/`` gets soak.json and soak.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import tempfile
import time
import urllib.request
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.load import machine
from tests.load.generator import LoadSpec, Sending, open_http_caller
from tests.load.soak_report import Sample, drift_of, growth_of, summarise, to_svg
from tests.load.stage import Stage
from tests.load.texts import make_texts, read_words
from tests.stack import KEY, MODEL_NAME, export_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.load.generator import Caller

RESULTS = machine.CHECKOUT / "bench-results"
CALLERS = 32
"""Callers; without a number of requests each sends the next text as soon as the last is answered."""

SAMPLE_INTERVAL_S = 3.0
"""Seconds between two looks."""

WARM_S = 60.0
"""Seconds that don't count: "after the first minute"."""

ENTRY_BYTES = 1_900
"""About what one cached vector of 384 components takes, bookkeeping included."""

CACHE_FULL_S = 30.0
"""Seconds after which the cache is to be full."""

LEAST_FULL_LOAD_PER_S = 100.0
"""Texts a second that full load surely reaches."""


@dataclass
class Outcome:
    """What became of the requests."""

    answered: int = 0
    """Right answers."""

    failures: list[str] = field(default_factory=list)
    """What was wrong with the others."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the command line.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The choices.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.load.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0, help="how long (default: 30)")
    parser.add_argument(
        "--requests", type=int, help="spread so many evenly over the time (default: as many as are answered)"
    )
    return parser.parse_args(arguments)


def choose_cache_bytes(rate_per_s: float | None) -> int:
    """
    Choose a bound that the cache reaches well within the first minute.

    Args:
        rate_per_s: Texts a second; None for full load.

    Returns:
        Bytes.
    """
    return int((rate_per_s or LEAST_FULL_LOAD_PER_S) * CACHE_FULL_S * ENTRY_BYTES)


async def call_on_time(
    call: Caller, texts: Iterator[str], due_s: Iterator[float], until: float, outcome: Outcome
) -> None:
    """
    Be one caller: send at the times that are due, or at once if late.

    Args:
        call: Sends one text; returns what was wrong with the answer.

        texts: Shared with the other callers.

        due_s: Likewise: when to send, on the loop's clock, in order.

        until: When to stop, on the loop's clock, in seconds.

        outcome: Takes the answers in.
    """
    loop = asyncio.get_running_loop()
    for due in due_s:
        if due >= until:
            return
        if (wait_s := due - loop.time()) > 0:
            await asyncio.sleep(wait_s)
        if loop.time() >= until:
            return
        fault = await call(Sending([next(texts)]))
        if fault is None:
            outcome.answered += 1
        else:
            outcome.failures.append(fault.reason)


def make_due_times(started: float, rate_per_s: float | None, requests: int | None) -> Iterator[float]:
    """
    Say when to send.

    Args:
        started: The loop's clock at the beginning, in seconds.

        rate_per_s: Requests a second; None for as many as are answered.

        requests: How many; None for no end.

    Yields:
        One time after the other; *started* again and again for full load.
    """
    number = 0
    while requests is None or number < requests:
        yield started if rate_per_s is None else started + number / rate_per_s
        number += 1


class Watched(NamedTuple):
    """What is looked at."""

    programs: dict[str, int]
    """Process ids by name."""

    facade_url: str
    """Whose metrics tell how many tasks there are."""

    shm_prefix: str
    """How Triton's shared memory is called."""

    def count(self) -> dict[str, float]:
        """Count what must not grow, by what it is."""
        counts: dict[str, float] = {"KiB of Triton's shared memory": shared_memory_kib(self.shm_prefix)}
        for name, pid in self.programs.items():
            counts[f"file descriptors, {name}"] = sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
            counts[f"threads, {name}"] = sum(1 for _ in Path(f"/proc/{pid}/task").iterdir())
        request = urllib.request.Request(  # noqa: S310  # ours, always http
            f"{self.facade_url}/metrics", headers={"Authorization": f"Bearer {KEY}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            text = answer.read().decode()
        counts["tasks, façade"] = float(re.findall(r"^facade_tasks (\S+)$", text, re.MULTILINE)[0])
        return counts


def shared_memory_kib(prefix: str) -> float:
    """
    Measure shared memory.

    Args:
        prefix: How its regions are called.

    Returns:
        KiB that are really occupied.
    """
    return sum(path.stat().st_blocks for path in Path("/dev/shm").glob(f"{prefix}*")) / 2


async def sample_often(watched: Watched, samples: list[Sample]) -> None:
    """
    Look every few seconds, until cancelled.

    Args:
        watched: What is looked at.

        samples: Gets what was seen.
    """
    started = time.monotonic()
    while True:
        rss_mib = {name: machine.memory_of(pid).rss_mib for name, pid in watched.programs.items()}
        counts = await asyncio.to_thread(watched.count)
        samples.append(Sample(time.monotonic() - started, rss_mib, counts))
        await asyncio.sleep(SAMPLE_INTERVAL_S)


def name_programs(facade_pid: int, triton_pid: int) -> dict[str, int]:
    """
    Find every process whose memory matters.

    Args:
        facade_pid: The façade.

        triton_pid: Triton; its stubs are below it.

    Returns:
        Process ids by name.
    """
    programs = {"façade": facade_pid}
    for pid in sorted(machine.tree_of(triton_pid)):
        command = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
        # The kernel cuts names at 15 characters: triton_python_backend_stub is triton_python_b.
        name = "Triton's stub" if command.startswith("triton_python") else command
        programs[f"{name} {sum(one.startswith(name) for one in programs) + 1}"] = pid
    return programs


async def run_soak(spec: LoadSpec, watched: Watched, requests: int | None) -> dict[str, Any]:
    """
    Keep up the load, and look at what must not grow.

    Args:
        spec: What is sent where; its `measure_s` is the whole time.

        watched: What is looked at.

        requests: How many, evenly; None for full load.

    Returns:
        What soak.json holds, but for the environment.
    """
    texts = make_texts(read_words(Path(spec.tokenizer_file)), spec.traffic, spec.seed, spec.contender)
    callers = [await open_http_caller(spec) for _ in range(spec.concurrency)]
    loop = asyncio.get_running_loop()
    samples: list[Sample] = []
    outcome = Outcome()
    sampler = asyncio.create_task(sample_often(watched, samples))
    started = loop.time()
    rate_per_s = None if requests is None else requests / spec.measure_s
    due_s = make_due_times(started, rate_per_s, requests)
    until = started + spec.measure_s
    try:
        await asyncio.gather(*(call_on_time(call, texts, due_s, until, outcome) for call in callers))
    finally:
        sampler.cancel()
    return {
        "seconds": loop.time() - started,
        "answered": outcome.answered,
        "failures": len(outcome.failures),
        "reasons": sorted(set(outcome.failures))[:5],
        "samples": [asdict(sample) for sample in samples],
        "drift": {name: asdict(drift_of(samples, name, WARM_S)) for name in watched.programs},
        "growth": {name: asdict(growth_of(samples, name, WARM_S)) for name in samples[0].counts},
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Soak, and write what was seen.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code: 0 if every answer was right, whether or not all was flat; otherwise 1.
    """
    chosen = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    total_s = chosen.minutes * 60
    cache_bytes = choose_cache_bytes(None if chosen.requests is None else chosen.requests / total_s)
    with tempfile.TemporaryDirectory(prefix="triton-facade-export-") as folder:
        exported = Path(folder) / "repository"
        export_model(exported)
        with Stage(exported, _say, ()) as stage:
            facade = stage.start_facade(FACADE_CACHE_MEMORY_BYTES=str(cache_bytes))
            spec = LoadSpec(
                protocol="http",
                address=facade.url.removeprefix("http://"),
                model=MODEL_NAME,
                tokenizer_file=str(stage.tokenizer_file),
                traffic="log-normal",
                seed="soak",
                contender="soak",
                concurrency=CALLERS,
                warmup_s=0,
                measure_s=total_s,
                headers={"authorization": f"Bearer {KEY}"},
            )
            programs = name_programs(facade.process.pid, stage.triton_pid)
            _say(f"soaking for {chosen.minutes:g} minutes")
            watched = Watched(programs, facade.url, stage.triton.shm_prefix)
            found = asyncio.run(run_soak(spec, watched, chosen.requests))
    results = {"environment": machine.describe(), "cache_memory_bytes": cache_bytes, **found}
    report = RESULTS / time.strftime("%Y-%m-%d_%H%M%S-soak")
    report.mkdir(parents=True)
    (report / "soak.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (report / "soak.svg").write_text(to_svg(results), encoding="utf-8")
    _say(summarise(results))
    _say(f"soak.json and soak.svg are in {report}")
    return 1 if results["failures"] else 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
