"""One measurement: a contender under load for some seconds, and what every part of the machine did meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from tests.load import machine
from tests.load.generator import LoadResult, LoadSpec
from tests.load.rounds import percentile


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

    core: str | None = None
    """The core behind *model*, likewise."""

    headers: dict[str, str] = field(default_factory=dict)
    """What the generator sends along."""


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
        **asdict(load),
    )
    trees = {name: machine.tree_of(pid) for name, pid in contender.programs.items()}
    result, cpu_s, busy_s, counted = _run_generator(spec, contender, trees)
    if result.failures or not result.latencies_ms:
        raise BenchFailed(f"{contender.name}: {result.failures} wrong answers: {result.reasons}")
    answered = len(result.latencies_ms)
    cpu_s["generator"] = result.cpu_s
    latencies_ms = sorted(result.latencies_ms)
    return {
        "texts_per_s": answered / result.measured_s,
        "p50_ms": percentile(latencies_ms, 0.50),
        "p99_ms": percentile(latencies_ms, 0.99),
        "answered": answered,
        "cpu_us_a_text": {name: used_s / answered * 1e6 for name, used_s in cpu_s.items()},
        # Share of all cores that nobody here used: other people's programs, and the kernel's own work.
        "others_share": max(0.0, busy_s - sum(cpu_s.values())) / result.measured_s / machine.cores(),
        **counted,
    }


def _run_generator(
    spec: LoadSpec, contender: Contender, trees: dict[str, set[int]]
) -> tuple[LoadResult, dict[str, float], float, dict[str, float]]:
    """Run the generator and read all counters at the beginning and the end of the measured seconds."""
    # A session of its own: Ctrl-C is for this program, which then ends the generator itself.
    generator = subprocess.Popen(
        [sys.executable, "-m", "tests.load.generator"],
        cwd=machine.CHECKOUT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert generator.stdin is not None
        assert generator.stdout is not None
        generator.stdin.write(json.dumps(asdict(spec)))
        generator.stdin.close()
        before: tuple[dict[str, float], float, dict[str, int]] = ({}, 0.0, {})
        after = before
        result: LoadResult | None = None
        for line in generator.stdout:
            told = json.loads(line)
            if told.get("event") == "begins":
                before = _read_counters(contender, trees)
            elif told.get("event") == "ends":
                after = _read_counters(contender, trees)
            else:
                result = LoadResult(**told)
    finally:
        with suppress(ProcessLookupError):
            generator.kill()
        generator.wait()
    if result is None:
        raise BenchFailed(f"{contender.name}: the load generator failed; what it said is above")
    cpu_s = {name: after[0][name] - before[0][name] for name in trees}
    return result, cpu_s, after[1] - before[1], _batch_sizes(before[2], after[2])


def _read_counters(
    contender: Contender, trees: dict[str, set[int]]
) -> tuple[dict[str, float], float, dict[str, int]]:
    counts = {}
    if contender.triton_http is not None:
        counts = read_triton_counts(contender.triton_http, {"door": contender.model, "core": contender.core})
    return {name: machine.cpu_s(pids) for name, pids in trees.items()}, machine.busy_cpu_s(), counts


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
    return sizes
