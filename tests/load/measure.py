"""One measurement: a contender under load for some seconds, and what every part of the machine did meanwhile."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.load import machine
from tests.load.generator import LoadResult, LoadSpec
from tests.load.open_loop import OpenLoad, OpenResult
from tests.load.rounds import percentile

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Contender:
    """Something that can be put under load."""

    name: str
    """How the report calls it."""

    protocol: str
    """``http`` or ``grpc``."""

    address: str
    """``host:port``."""

    model: str
    """The model that it is asked for."""

    programs: dict[str, int]
    """Process ids by name; each with its descendants."""

    traffic: str = "short"
    """Kind of texts."""

    triton_http: str | None = None
    """Triton's HTTP endpoint, if there is one to ask for batch sizes."""

    triton_metrics: str | None = None
    """Triton's metrics endpoint, if there is one to ask for padding."""

    core: str | None = None
    """The core behind *model*, likewise."""

    headers: dict[str, str] = field(default_factory=dict)
    """What the generator sends along."""

    dialect: str = "openai"
    """How it is asked over HTTP, see `dialects.DIALECTS`."""

    other_paths: list[str] = field(default_factory=list)
    """Routes that don't ask for vectors, for traffic that has other calls in it."""

    may_refuse: bool = False
    """Whether 429 and 503 count as refusals and not as wrong answers: how much a peer takes on is its own choice."""

    @property
    def idle_pids(self) -> list[int]:
        """A peer's process: some peers keep a core busy by asking themselves whether there is work."""
        return [pid for name, pid in self.programs.items() if name == "peer"]


@dataclass(frozen=True)
class Load:
    """How a contender is loaded."""

    tokenizer_file: str
    """Where words come from."""

    concurrency: int
    """Callers of the closed loop."""

    warmup_s: float
    """Seconds before the measured ones."""

    measure_s: float
    """Seconds measured."""

    most_texts: int = 1
    """Texts in the largest request; sizes are log-uniform from 1 on."""

    other_share: float = 0.0
    """Share of requests that ask for something else than vectors."""


@dataclass(frozen=True)
class Arrivals:
    """How often a contender is asked, whatever it makes of it."""

    tokenizer_file: str
    """Where words come from."""

    rate_per_s: float
    """Mean arrivals a second, Poisson."""

    warmup_s: float
    """Seconds before the measured ones."""

    measure_s: float
    """Seconds measured."""

    most_connections: int = 512
    """Beyond so many a request waits in the client, and its latency grows."""

    drain_s: float = 10.0
    """Seconds after the last arrival in which answers may still come."""


class Counters(NamedTuple):
    """What the machine and Triton had counted at one moment."""

    cpu_s: dict[str, float]
    """CPU time by program."""

    busy_s: float
    """Time that all cores together have been busy."""

    counts: dict[str, int]
    """Triton's, see `read_triton_counts`."""


class BenchFailed(Exception):
    """A measurement can't be had; the message says why."""


def measure(contender: Contender, load: Load, seed: str, attempt: int = 1) -> dict[str, Any]:
    """
    Put a contender under load once.

    Args:
        contender: Who.

        load: How.

        seed: Fixes what is sent.

        attempt: At the same measurement; fixes it too, so that a cache doesn't know what is sent again.

    Returns:
        Figures by name, units in the names; CPU in microseconds for each text answered.

    Raises:
        BenchFailed: If answers were wrong, or none came.
    """
    spec = LoadSpec(
        protocol=contender.protocol,
        address=contender.address,
        model=contender.model,
        traffic=contender.traffic,
        contender=f"{contender.name} {attempt}",
        headers=contender.headers,
        seed=seed,
        dialect=contender.dialect,
        other_paths=contender.other_paths,
        **asdict(load),
    )
    trees = {name: machine.tree_of(pid) for name, pid in contender.programs.items()}
    told, before, after = run_generator(
        "tests.load.generator", asdict(spec), partial(read_counters, contender, trees)
    )
    result = LoadResult(**told)
    if result.failures or not (contender.may_refuse or (result.latencies_ms and not result.refused)):
        raise BenchFailed(
            f"{contender.name}: {result.failures} wrong answers, {result.refused} refused: {result.reasons}"
        )
    cpu_s = {name: after.cpu_s[name] - before.cpu_s[name] for name in trees} | {"generator": result.cpu_s}
    # Who may refuse may answer nothing at all: then everybody has waited for as long as was measured.
    latencies_ms = sorted(result.latencies_ms) or [result.measured_s * 1000]
    texts = max(result.texts, 1)
    figures = {
        "texts_per_s": result.texts / result.measured_s,
        "p50_ms": percentile(latencies_ms, 0.50),
        "p99_ms": percentile(latencies_ms, 0.99),
        "answered": result.texts,
        "cpu_us_a_text": {name: used_s / texts * 1e6 for name, used_s in cpu_s.items()},
        # Share of all cores that nobody here used: other people's programs, and the kernel's own work.
        "others_share": max(0.0, after.busy_s - before.busy_s - sum(cpu_s.values()))
        / result.measured_s
        / machine.cores(),
        **_batch_sizes(before.counts, after.counts),
    }
    if contender.may_refuse:
        figures["refused_share"] = result.refused / max(1, result.refused + len(result.latencies_ms))
    if others_ms := sorted(result.other_latencies_ms):
        figures["requests_per_s"] = (len(others_ms) + len(latencies_ms)) / result.measured_s
        figures["others_p99_ms"] = percentile(others_ms, 0.99)
    return figures


def measure_open(contender: Contender, arrivals: Arrivals, seed: str, attempt: int = 1) -> dict[str, Any]:
    """
    Put a contender under a load that doesn't wait for its answers, once.

    Args:
        contender: Who.

        arrivals: How often it is asked.

        seed: Fixes arrivals and lengths.

        attempt: At the same measurement; fixes words, so that a cache doesn't know what is sent again.

    Returns:
        Figures as `measure` gives them. Latencies count from the time a request was due. One that was refused, or had
        no answer when the run ended, counts with the time that answers were waited for.

    Raises:
        BenchFailed: If answers were wrong, or none came.
    """
    spec = OpenLoad(
        address=contender.address,
        model=contender.model,
        traffic=contender.traffic,
        contender=f"{contender.name} {attempt}",
        headers=contender.headers,
        seed=seed,
        dialect=contender.dialect,
        **asdict(arrivals),
    )
    trees = {name: machine.tree_of(pid) for name, pid in contender.programs.items()}
    told, before, after = run_generator(
        "tests.load.open_loop", asdict(spec), partial(read_counters, contender, trees)
    )
    result = OpenResult(**told)
    if result.failures or not result.admitted_due_ms:
        raise BenchFailed(f"{contender.name}: {result.failures} wrong answers: {result.reasons}")
    cpu_s = {name: after.cpu_s[name] - before.cpu_s[name] for name in trees} | {"generator": result.cpu_s}
    refused = len(result.refused_due_ms)
    never_ms = [spec.drain_s * 1000] * (refused + len(result.unanswered_due_ms))
    latencies_ms = sorted(result.admitted_due_ms + never_ms)
    answered = max(1, result.answered_in_time)
    return {
        "texts_per_s": result.answered_in_time / result.measured_s,
        "offered_per_s": arrivals.rate_per_s,
        "p50_ms": percentile(latencies_ms, 0.50),
        "p99_ms": percentile(latencies_ms, 0.99),
        "answered": result.answered_in_time,
        "refused_share": refused / max(1, result.due),
        "unanswered": len(result.unanswered_due_ms),
        "cpu_us_a_text": {name: used_s / answered * 1e6 for name, used_s in cpu_s.items()},
        "others_share": max(0.0, after.busy_s - before.busy_s - sum(cpu_s.values()))
        / result.measured_s
        / machine.cores(),
        **_batch_sizes(before.counts, after.counts),
    }


def run_generator(
    module: str, spec: dict[str, Any], look: Callable[[], Counters]
) -> tuple[dict[str, Any], Counters, Counters]:
    """
    Run a load generator, and look at all counters at the beginning and the end of the measured seconds.

    Args:
        module: The program.

        spec: What it reads.

        look: Reads the counters.

    Returns:
        What it found, and the counters before and after.

    Raises:
        BenchFailed: If it failed.
    """
    # A session of its own: Ctrl-C is for this program, which then ends the generator itself.
    generator = subprocess.Popen(
        [sys.executable, "-m", module],
        cwd=machine.CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    seen: dict[str, Counters] = {}
    told: dict[str, Any] = {}
    try:
        assert generator.stdin is not None
        assert generator.stdout is not None
        generator.stdin.write(json.dumps(spec))
        generator.stdin.close()
        for line in generator.stdout:
            told = json.loads(line)
            if "event" in told:
                seen[told["event"]] = look()
    finally:
        with suppress(ProcessLookupError):
            generator.kill()
        generator.wait()
        for pipe in (generator.stdin, generator.stdout):
            assert pipe is not None
            pipe.close()
    if "event" in told or seen.keys() != {"begins", "ends"}:
        raise BenchFailed(f"{spec['contender']}: the load generator failed; what it said is above")
    return told, seen["begins"], seen["ends"]


def read_counters(contender: Contender, trees: dict[str, set[int]]) -> Counters:
    """
    Read all counters.

    Args:
        contender: Whose Triton is asked, if it has one.

        trees: Process ids by program.

    Returns:
        What they say.
    """
    counts = {}
    if contender.triton_http is not None:
        counts = read_triton_counts(contender.triton_http, {"door": contender.model, "core": contender.core})
    if contender.triton_metrics is not None:
        counts |= read_padding(contender.triton_metrics, contender.model)
    return Counters({name: machine.cpu_s(pids) for name, pids in trees.items()}, machine.busy_cpu_s(), counts)


def read_padding(address: str, model: str) -> dict[str, int]:
    """
    Ask Triton's metrics how much of what a door sent to its core was padding.

    Args:
        address: ``host:port``.

        model: The door.

    Returns:
        ``tokens`` and ``padded_tokens``, over all versions; nothing if the door doesn't count them.
    """
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    counts = {}
    for name in ("tokens", "padded_tokens"):
        found = re.findall(
            rf'^door_{name}_total\{{model="{re.escape(model)}",.*\}} (\S+)$', text, re.MULTILINE
        )
        if found:
            counts[name] = sum(int(float(value)) for value in found)
    return counts


def read_triton_counts(address: str, models: dict[str, str | None]) -> dict[str, int]:
    """
    Ask Triton how many texts and how many batches its models ran.

    Args:
        address: ``host:port`` of its HTTP endpoint.

        models: Models by the name that their figures get.

    Returns:
        ``<name>_inferences`` and ``<name>_executions``.
    """
    counts = {}
    for name, model in models.items():
        if model is None:
            continue
        with urllib.request.urlopen(f"http://{address}/v2/models/{model}/stats", timeout=10) as answer:
            stats = json.load(answer)["model_stats"]
        counts[f"{name}_inferences"] = sum(int(version["inference_count"]) for version in stats)
        counts[f"{name}_executions"] = sum(int(version["execution_count"]) for version in stats)
    return counts


def _batch_sizes(before: dict[str, int], after: dict[str, int]) -> dict[str, float]:
    sizes = {}
    for name in ("door", "core"):
        if f"{name}_executions" in after:
            executions = after[f"{name}_executions"] - before[f"{name}_executions"]
            inferences = after[f"{name}_inferences"] - before[f"{name}_inferences"]
            sizes[f"{name}_batch"] = inferences / max(executions, 1)
    if "padded_tokens" in after:
        padded = after["padded_tokens"] - before.get("padded_tokens", 0)
        sizes["useful_share"] = (after["tokens"] - before.get("tokens", 0)) / max(padded, 1)
    return sizes
