"""Four times what the model can do: what is still answered, how fast, and how fast the rest is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

from tests.load import machine
from tests.load.measure import BenchFailed, Load, measure
from tests.load.open_loop import OpenLoad, OpenResult
from tests.load.rounds import describe_figures, percentile, spread_of
from tests.load.stage import free_port
from tests.load.suites import SuiteResult, at_least, below
from tests.stack import KEY, MODEL_NAME

if TYPE_CHECKING:
    from tests.load.rounds import Figures, Round
    from tests.load.stage import Stage
    from tests.load.suites import Options, Say
    from tests.stack import Facade

SWEEP = (8, 16, 32, 64, 128)
"""Callers of the closed loop with which the capacity is looked for."""

FACTOR = 4.0
"""Times the capacity."""

TRAFFIC = "log-normal"
TIMEOUT_S = 10
ADAPT_S = 6.0
"""Seconds of overload before those measured: what is admitted adapts to the model within them."""

REFUSAL_LIMIT_S = "0.01"
"""Edge of the histogram's bucket that a refusal has to be in."""

OVERLOAD = "4x, open loop"


class ServerCounts(NamedTuple):
    """What the façade's metrics say."""

    refused: float
    """503s."""

    quick: float
    """Requests answered within 10 ms by the server's own clock; under overload only refusals are."""


class Place(NamedTuple):
    """Where it happens."""

    stage: Stage
    facade: Facade
    metrics_url: str


class Overloaded(NamedTuple):
    """One measurement at four times the capacity."""

    result: OpenResult
    server: ServerCounts
    cpu_s: dict[str, float]
    busy_s: float


def run_overload(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Find the capacity, then offer four times as much."""
    metrics_port = free_port()
    facade = stage.start_facade(
        FACADE_KEYS_FILE=str(stage.write_keys_file()), FACADE_METRICS_PORT=str(metrics_port)
    )
    rounds = [
        _run_round(Place(stage, facade, f"http://127.0.0.1:{metrics_port}/metrics"), number, options, say)
        for number in range(1, options.rounds + 1)
    ]
    best = [best_of(one) for one in rounds]
    over = [one[OVERLOAD] for one in rounds]
    goodput = spread_of([o["texts_per_s"] / b["texts_per_s"] for o, b in zip(over, best, strict=True)])
    p99 = spread_of([o["p99_ms"] / b["p99_ms"] for o, b in zip(over, best, strict=True)])
    return SuiteResult(
        name="overload",
        title="Four times too much",
        about=(
            f"First closed loops of {', '.join(map(str, SWEEP))} callers: the one with the most texts/s is the "
            f"capacity. Then four times its rate as Poisson arrivals, each sent once, X-Request-Timeout: {TIMEOUT_S}, "
            f"after {ADAPT_S:.0f} s in which the façade adapts. Unique texts of log-normal lengths, one a request; a "
            "keys file with limits that aren't reached. Latency counts from the time a request was due; texts/s are "
            "answers with 200. The generator, façade and model share the cores."
        ),
        goals=[
            at_least("goodput at 4x ÷ capacity", 0.9, goodput),
            below("p99 of the admitted at 4x ÷ p99 at capacity", 2.0, p99),
            at_least(
                "share of refusals that take the façade at most 10 ms",
                0.99,
                spread_of([o["refused_within_10_ms"] for o in over]),
            ),
            below("refusals without Retry-After", 1, spread_of([o["without_retry_after"] for o in over])),
        ],
        rounds=rounds,
        notes=[_describe(number, one) for number, one in enumerate(over, start=1)],
    )


def best_of(one: Round) -> Figures:
    """
    Find the capacity in a round.

    Args:
        one: The round.

    Returns:
        Figures of the closed loop with the most texts a second.
    """
    return max(
        (figures for name, figures in one.items() if name != OVERLOAD), key=lambda found: found["texts_per_s"]
    )


def _run_round(place: Place, number: int, options: Options, say: Say) -> Round:
    stage, facade, metrics_url = place
    one: Round = {}
    for callers in SWEEP:
        name = f"{callers} callers, closed loop"
        machine.wait_for_calm(
            {"own": machine.tree_of(facade.process.pid) | machine.tree_of(stage.triton_pid)},
            options.calm_timeout_s,
        )
        load = Load(str(stage.tokenizer_file), callers, options.warmup_s, options.measure_s)
        contender = stage.through(facade, name, traffic=TRAFFIC)
        one[name] = {**measure(contender, load, seed=f"capacity {number}"), "discarded": []}
        say(f"  round {number}, {name}: {describe_figures(one[name])}")
    rate_per_s = FACTOR * best_of(one)["texts_per_s"]
    spec = OpenLoad(
        address=facade.url.removeprefix("http://"),
        model=MODEL_NAME,
        tokenizer_file=str(stage.tokenizer_file),
        traffic=TRAFFIC,
        seed=f"overload {number}",
        rate_per_s=rate_per_s,
        warmup_s=ADAPT_S,
        measure_s=options.measure_s,
        headers={"authorization": f"Bearer {KEY}", "x-request-timeout": str(TIMEOUT_S)},
    )
    programs = {"facade": facade.process.pid, "triton": stage.triton_pid}
    one[OVERLOAD] = to_figures(offer(spec, metrics_url, programs), rate_per_s)
    say(f"  round {number}, {_describe(number, one[OVERLOAD])}")
    return one


def offer(spec: OpenLoad, metrics_url: str, programs: dict[str, int]) -> Overloaded:
    """
    Offer an open load once.

    Args:
        spec: What.

        metrics_url: The façade's metrics.

        programs: Process ids by name.

    Returns:
        What happened.

    Raises:
        BenchFailed: If an answer was neither 200 nor 503.
    """
    trees = {name: machine.tree_of(pid) for name, pid in programs.items()}
    seen: dict[str, tuple[ServerCounts, dict[str, float], float]] = {}
    result: OpenResult | None = None
    generator = subprocess.Popen(
        [sys.executable, "-m", "tests.load.open_loop"],
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
        for line in generator.stdout:
            told = json.loads(line)
            if "event" in told:
                cpu_s = {name: machine.cpu_s(pids) for name, pids in trees.items()}
                seen[told["event"]] = read_server_counts(metrics_url), cpu_s, machine.busy_cpu_s()
            else:
                result = OpenResult(**told)
    finally:
        with suppress(ProcessLookupError):
            generator.kill()
        generator.wait()
    if result is None or result.failures or not result.admitted_due_ms or not result.refused_due_ms:
        raise BenchFailed(f"overload: {result and (result.failures, result.reasons)}")
    before, after = seen["begins"], seen["ends"]
    return Overloaded(
        result,
        ServerCounts(*(b - a for a, b in zip(before[0], after[0], strict=True))),
        {name: after[1][name] - before[1][name] for name in trees},
        after[2] - before[2],
    )


def to_figures(found: Overloaded, rate_per_s: float) -> Figures:
    """
    Write a measurement in the shape that reports take.

    Args:
        found: The measurement.

        rate_per_s: What was offered.

    Returns:
        Figures by name; CPU in microseconds for each text answered with 200.
    """
    result = found.result
    admitted, admitted_sent = sorted(result.admitted_due_ms), sorted(result.admitted_sent_ms)
    refused, refused_sent = sorted(result.refused_due_ms), sorted(result.refused_sent_ms)
    cpu_s = {**found.cpu_s, "generator": result.cpu_s}
    answered = max(1, result.answered_in_time)
    return {
        "texts_per_s": result.answered_in_time / result.measured_s,
        "p50_ms": percentile(admitted, 0.5),
        "p99_ms": percentile(admitted, 0.99),
        "p99_since_sent_ms": percentile(admitted_sent, 0.99),
        "answered": result.answered_in_time,
        "offered_per_s": rate_per_s,
        "refused": len(refused),
        "refused_p50_ms": percentile(refused, 0.5),
        "refused_p99_ms": percentile(refused, 0.99),
        "refused_p99_since_sent_ms": percentile(refused_sent, 0.99),
        "refused_within_10_ms": min(1.0, found.server.quick / max(1.0, found.server.refused)),
        "without_retry_after": result.without_retry_after,
        "connections": result.connections,
        "cpu_us_a_text": {name: used_s / answered * 1e6 for name, used_s in cpu_s.items()},
        "others_share": max(0.0, found.busy_s - sum(cpu_s.values())) / result.measured_s / machine.cores(),
        "discarded": [],
    }


def read_server_counts(url: str) -> ServerCounts:
    """
    Ask a façade's metrics about refusals.

    Args:
        url: Where they are.

    Returns:
        Counts since its start.
    """
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  # ours, always http
        return parse_server_counts(answer.read().decode("utf-8"))


def parse_server_counts(text: str) -> ServerCounts:
    """
    Read Prometheus's text format.

    Args:
        text: All metrics.

    Returns:
        The two counts; 0 where there is none yet.
    """

    def add_up(name: str, label: str) -> float:
        pattern = rf'^{name}{{(?=[^}}]*{re.escape(label)})(?=[^}}]*endpoint="/v1/embeddings")[^}}]*}} (\S+)$'
        return sum(map(float, re.findall(pattern, text, re.MULTILINE)))

    return ServerCounts(
        refused=add_up("api_requests_total", 'status="503"'),
        quick=add_up("api_request_latency_seconds_bucket", f'le="{REFUSAL_LIMIT_S}"'),
    )


def _describe(number: int, over: Figures) -> str:
    return (
        f"4x, round {number}: {over['offered_per_s']:.0f}/s offered, {over['texts_per_s']:.0f}/s answered, "
        f"{over['refused']} refused. Admitted: p99 {over['p99_ms']:.0f} ms since due, "
        f"{over['p99_since_sent_ms']:.0f} ms since sent. Refused, as the client sees it on shared cores: p50 "
        f"{over['refused_p50_ms']:.1f} ms and p99 {over['refused_p99_ms']:.1f} ms since due, p99 "
        f"{over['refused_p99_since_sent_ms']:.1f} ms since sent; {over['refused_within_10_ms']:.1%} within 10 ms by "
        f"the façade's own clock. Others used {over['others_share']:.0%} of the machine."
    )
