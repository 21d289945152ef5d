"""How the cost of requests grows: with callers, with texts a request, with tokens a text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvloop

from tests.load import machine
from tests.load.growth.drive import Drive, drive, read_memory
from tests.load.growth.models import (
    SHALLOW,
    WHOLE,
    least_bytes,
    make_requests,
    make_texts,
    read_vocabulary,
)
from tests.load.growth.series import Figure, Growth, measure_points
from tests.load.stage import Stage
from tests.stack import MODEL_NAME

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.load.growth.drive import Figures
    from tests.stack import Facade

CALLERS = (1, 4, 16, 64, 256, 1024)
TEXTS = (1, 8, 64, 512, 2048)
TOKENS = (3, 8, 16, 32, 64, 128, 256, 512)

SHORT_TOKENS = 16
CACHE_BYTES = str(8 * 1024 * 1024)
"""Enough for one request's 2,048 answers, and full before the first point: its filling would look like growth."""

LEAST_UNITS = 64
"""Fewer callers or texts are lost in what a process of 100 MiB varies by."""

SHORTER = 0.7
"""Length of a measurement that stands beside another one, as a share of that one."""

STARTS_APART = 10_000_000
"""Numbers between the first texts of two measurements, so that they share none."""


@dataclass(frozen=True)
class Bench:
    """What every suite needs."""

    exported: Path
    """Repositories by name, see `models`."""

    rounds: int
    """Rounds of each suite."""

    warmup_s: float
    """Seconds of load before each measurement."""

    measure_s: float
    """Seconds of each measurement."""

    limit_s: float
    """Seconds after which a suite begins no further round."""

    is_quick: bool
    """Whether the largest sizes are left out."""

    say: Callable[[str], None]
    """Takes a line of progress."""

    def stage(self, name: str) -> Stage:
        """Describe a stage with one of the models."""
        return Stage(self.exported / name, self.say, ())


class Source:
    """
    Where unique requests for one façade come from.

    Args:
        stage: Where the model runs.

        facade: Who is asked.
    """

    def __init__(self, stage: Stage, facade: Facade) -> None:
        self.address = facade.url.removeprefix("http://")
        self.words = read_vocabulary(stage.tokenizer_file)
        self._made = 0

    def take(self, tokens: int, texts_a_request: int = 1) -> Iterator[bytes]:
        """Make requests whose texts nobody was sent before."""
        self._made += 1
        texts = make_texts(self.words, tokens, self._made * STARTS_APART)
        return make_requests(self.address, MODEL_NAME, texts, texts_a_request)


def run_concurrency(bench: Bench) -> Growth:
    """Measure a text's cost with 1 to 1,024 callers."""
    with bench.stage(WHOLE) as stage:
        facade = stage.start_facade(FACADE_CACHE_MEMORY_BYTES=CACHE_BYTES)
        source = Source(stage, facade)
        programs = {"facade": facade.process.pid, "triton": stage.triton_pid}
        fill(bench, source, programs, WHOLE)
        rest_mib = read_memory({facade.process.pid})["rss_mib"]

        def run_one(callers: float, number: int) -> Figures:
            figures = _drive(bench, source.take(SHORT_TOKENS), source, programs, WHOLE, callers=int(callers))
            return _with_memory(figures, rest_mib, callers, "caller", is_first=number == 1)

        points = measure_points(
            CALLERS[:-1] if bench.is_quick else CALLERS, run_one, bench.rounds, bench.say, bench.limit_s
        )
        after_mib = read_memory({facade.process.pid})["rss_mib"]
    return Growth(
        name="concurrency",
        title="Callers at once",
        about=(
            "Closed loop, unique texts of 16 tokens, one a request, all-MiniLM-L6-v2. One façade with its defaults. A "
            "caller that is refused (503) waits as long as Retry-After says and asks again."
        ),
        axis="callers",
        figures=[
            Figure("facade_cpu_us_a_text", "façade CPU, µs a text", REFUSALS),
            Figure("triton_cpu_us_a_text", "Triton CPU, µs a text"),
            Figure("wall_us_a_text", "wall time, µs a text", REFUSALS),
            Figure("facade_kib_a_caller", "façade memory, KiB a caller"),
            Figure("p50_ms", "p50, ms", is_cost=False),
            Figure("p99_ms", "p99, ms", is_cost=False),
            Figure("refused_a_request", "refusals for each answer", decimals=2, is_cost=False),
        ],
        points=points,
        notes=[f"The façade's memory: {rest_mib:.0f} MiB before, {after_mib:.0f} MiB after all of it (RSS)."],
    )


REFUSALS = (
    "With more than some 200 callers the façade refuses instead of queueing (its bound follows what the model does in "
    "time). A refused request was read, let in and looked up in the cache before, so it costs a good part of what an "
    "answered one does, and callers who come back pay again."
)


def run_texts(bench: Bench) -> Growth:
    """Measure a text's cost in requests of 1 to 2,048, and how long others wait beside them."""
    with bench.stage(SHALLOW) as stage:
        facade = stage.start_facade(FACADE_CACHE_MEMORY_BYTES=CACHE_BYTES)
        source = Source(stage, facade)
        programs = {"facade": facade.process.pid, "triton": stage.triton_pid}
        fill(bench, source, programs, SHALLOW)
        rest_mib = read_memory({facade.process.pid})["rss_mib"]
        same = next(source.take(SHORT_TOKENS))

        def run_one(texts: float, number: int) -> Figures:
            count = int(texts)
            figures = _drive(
                bench, source.take(SHORT_TOKENS, count), source, programs, SHALLOW, callers=2, texts=count
            )
            figures = _with_memory(figures, rest_mib, texts * 2, "text", is_first=number == 1)
            neighbours = {"known": _again(same), "new": source.take(SHORT_TOKENS)}
            beside = _drive(
                bench,
                source.take(SHORT_TOKENS, count),
                source,
                programs,
                SHALLOW,
                callers=2,
                texts=count,
                neighbours=neighbours,
                share=SHORTER,
            )
            figures |= {key: value for key, value in beside.items() if key.startswith(("known_", "new_"))}
            again = _again(next(source.take(SHORT_TOKENS, count)))
            known = _drive(bench, again, source, programs, SHALLOW, callers=2, texts=count, share=SHORTER)
            for unit in ("text", "request"):
                figures[f"known_facade_cpu_us_a_{unit}"] = known[f"facade_cpu_us_a_{unit}"]
            return figures

        points = measure_points(
            TEXTS[:-1] if bench.is_quick else TEXTS, run_one, bench.rounds, bench.say, bench.limit_s
        )
        after_mib = read_memory({facade.process.pid})["rss_mib"]
    return Growth(
        name="texts",
        title="Texts a request",
        about=(
            "Closed loop of two callers, unique texts of 16 tokens. The model is MiniLM's first layer alone, so that "
            "what is around a model shows. In measurements of their own, two neighbours ask every 20 ms: one for a "
            "text that is in memory, one for a new text; their wait counts from when they were due. All known: the "
            "same texts in every request."
        ),
        axis="texts a request",
        figures=[
            Figure("facade_cpu_us_a_text", "façade CPU, µs a text"),
            Figure("refused_a_request", "refusals for each answer", decimals=1, is_cost=False),
            Figure("known_facade_cpu_us_a_text", "façade CPU, all known, µs a text"),
            Figure("triton_cpu_us_a_text", "Triton CPU, µs a text"),
            Figure("wall_us_a_text", "wall time, µs a text"),
            Figure("facade_kib_a_text", "façade memory, KiB a text"),
            Figure("known_p50_ms", "neighbour, known text: p50, ms", STANDSTILL, 1),
            Figure("known_longest_ms", "neighbour, known text: longest, ms", STANDSTILL, 1),
            Figure("new_p50_ms", "neighbour, new text: p50, ms", TURNS, 1),
            Figure("new_longest_ms", "neighbour, new text: longest, ms", TURNS, 1),
            Figure("facade_cpu_us_a_request", "façade CPU, µs a request", is_cost=False),
        ],
        points=points,
        notes=[f"The façade's memory: {rest_mib:.0f} MiB before, {after_mib:.0f} MiB after all of it (RSS)."],
    )


STANDSTILL = (
    "All answers of one request are looked up, kept and sent in a few turns of the event loop. On cores that the model "
    "uses too that takes longer still."
)
TURNS = (
    "A new text waits for the calls under way and then shares one: two calls, which are kept short while small "
    "requests come; what is beyond is the standstill."
)


def run_length(bench: Bench) -> Growth:
    """Measure a token's cost in texts of 3 to 512 tokens."""
    with bench.stage(WHOLE) as stage:
        facade = stage.start_facade(FACADE_CACHE_MEMORY_BYTES=CACHE_BYTES)
        source = Source(stage, facade)
        programs = {"facade": facade.process.pid, "triton": stage.triton_pid}
        fill(bench, source, programs, WHOLE)

        def run_one(tokens: float, _number: int) -> Figures:
            figures = _drive(bench, source.take(int(tokens)), source, programs, WHOLE, callers=16)
            return figures | {
                "tokens_per_s": figures["texts_per_s"] * tokens,
                "wall_us_a_token": figures["wall_us_a_text"] / tokens,
                "triton_cpu_us_a_token": figures["triton_cpu_us_a_text"] / tokens,
            }

        points = measure_points(TOKENS, run_one, bench.rounds, bench.say, bench.limit_s)
    return Growth(
        name="length",
        title="Tokens a text",
        about=(
            "Closed loop of 16 callers, unique texts of one length, one a request, all-MiniLM-L6-v2 for 512 tokens."
        ),
        axis="tokens a text",
        figures=[
            Figure("triton_cpu_us_a_token", "Triton CPU, µs a token"),
            Figure("wall_us_a_token", "wall time, µs a token"),
            Figure("facade_cpu_us_a_text", "façade CPU, µs a text"),
            Figure("tokens_per_s", "tokens/s", is_cost=False),
            Figure("triton_pss_mib", "Triton memory, MiB", is_cost=False),
        ],
        points=points,
    )


def fill(bench: Bench, source: Source, programs: dict[str, int], name: str) -> None:
    """Fill the façade's cache to its bound, and warm everything up."""
    texts = 64
    load = Drive(
        source.address,
        source.take(SHORT_TOKENS, texts),
        callers=4,
        texts_a_request=texts,
        least_bytes=least_bytes(name, texts),
        programs=programs,
        warmup_s=0.5,
        measure_s=8.0 if name == WHOLE and not bench.is_quick else 2.0,
    )
    uvloop.run(drive(load))


def _drive(
    bench: Bench,
    requests: Iterator[bytes],
    source: Source,
    programs: dict[str, int],
    name: str,
    *,
    callers: int,
    texts: int = 1,
    neighbours: dict[str, Iterator[bytes]] | None = None,
    share: float = 1.0,
) -> Figures:
    machine.wait_for_calm({key: machine.tree_of(pid) for key, pid in programs.items()}, 5.0, 0.2)
    load = Drive(
        source.address,
        _ready(requests, max(callers, 3000 // texts)),
        callers=callers,
        texts_a_request=texts,
        least_bytes=least_bytes(name, texts),
        programs=programs,
        warmup_s=bench.warmup_s * share,
        measure_s=bench.measure_s * share,
        neighbours=neighbours or {},
    )
    return uvloop.run(drive(load))


def _ready(requests: Iterator[bytes], count: int) -> Iterator[bytes]:
    """Make the first requests now, and not while it is measured."""
    made = [next(requests) for _ in range(count)]

    def give() -> Iterator[bytes]:
        yield from made
        yield from requests

    return give()


def _again(request: bytes) -> Iterator[bytes]:
    while True:
        yield request


def _with_memory(figures: Figures, rest_mib: float, units: float, unit: str, *, is_first: bool) -> Figures:
    """Add the memory a unit; only the first, ascending round shows it, as a process keeps what it had."""
    if not is_first or units < LEAST_UNITS:
        return figures
    grown_kib = max(0.0, figures["facade_peak_mib"] - rest_mib) * 1024
    return figures | {f"facade_kib_a_{unit}": grown_kib / units}
