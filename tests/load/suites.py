"""What is compared, how, and which figures are to be reached."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.load import machine
from tests.load.measure import Load, measure
from tests.load.peers.roster import FASTAPI_ONNXRUNTIME
from tests.load.rounds import Figures, Round, Spread, interleave, ratio_of, spread_of
from tests.load.stage import PADDING, Stage, await_answer, free_port
from tests.stack import facade_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.load.measure import Contender

    Say = Callable[[str], None]

OVERHEAD_S = 2.5
"""Seconds of a measurement beside warm-up and measuring: a look at the machine, the generator's start and end."""

SETTLE_S = 2.0
"""Seconds between readiness and the reading of memory: the catalogue has looked twice by then."""


@dataclass(frozen=True)
class Options:
    """How long to measure."""

    rounds: int
    """Rounds of each suite."""

    repetitions: int
    """Measurements of each suite that may be repeated because other programs disturbed them."""

    warmup_s: float
    """Seconds of load before each measurement."""

    measure_s: float
    """Seconds of each measurement."""

    starts: int
    """Starts of the façade."""

    calm_timeout_s: float
    """Seconds that one measurement waits for other programs to leave the machine alone."""


@dataclass(frozen=True)
class Goal:
    """A figure to be reached."""

    what: str
    """What it is, with its unit."""

    bound: float
    """Where it is reached."""

    is_least: bool
    """Whether more is better: then *bound* is enough, otherwise it is too much."""

    figure: Spread
    """What was measured."""

    is_reached: bool
    """Whether the median reaches it."""


@dataclass(frozen=True)
class SuiteResult:
    """All that one suite found."""

    name: str
    """Its name on the command line."""

    title: str
    """What it is about."""

    about: str
    """How it was measured, in a sentence or two."""

    goals: list[Goal]
    """What was to be reached."""

    rounds: list[Round] = field(default_factory=list)
    """What was measured."""

    notes: list[str] = field(default_factory=list)
    """Further figures, each a sentence."""


def at_least(what: str, bound: float, figure: Spread) -> Goal:
    """Make a goal that wants as much as possible."""
    return Goal(what, bound, is_least=True, figure=figure, is_reached=figure.median >= bound)


def below(what: str, bound: float, figure: Spread) -> Goal:
    """Make a goal that wants as little as possible."""
    return Goal(what, bound, is_least=False, figure=figure, is_reached=figure.median < bound)


def compare(
    stage: Stage, contenders: Sequence[Contender], concurrency: int, options: Options, say: Say
) -> list[Round]:
    """
    Measure contenders in turn.

    Args:
        stage: Where they run.

        contenders: Who.

        concurrency: Callers.

        options: How long.

        say: Takes a line of progress.

    Returns:
        The rounds.
    """
    load = Load(str(stage.tokenizer_file), concurrency, options.warmup_s, options.measure_s)

    def measure_one(contender: Contender, number: int, attempt: int) -> Figures:
        return measure(contender, load, seed=f"{contender.traffic} {number}", attempt=attempt)

    return take_turns(contenders, measure_one, options, say)


def take_turns(
    contenders: Sequence[Contender],
    measure_one: Callable[[Contender, int, int], Figures],
    options: Options,
    say: Say,
) -> list[Round]:
    """
    Measure contenders in turn, each when the machine is calm.

    Args:
        contenders: Who.

        measure_one: Measures one of them, in the round and the attempt of those numbers.

        options: How long.

        say: Takes a line of progress.

    Returns:
        The rounds.
    """
    by_name = {contender.name: contender for contender in contenders}
    seconds = len(by_name) * options.rounds * (options.warmup_s + options.measure_s + OVERHEAD_S)
    say(f"  {len(by_name)} contenders, {options.rounds} rounds: about {seconds / 60:.0f} minutes")

    def run_one(name: str, number: int, attempt: int) -> Figures:
        contender = by_name[name]
        idle = {pid for one in contenders for pid in one.idle_pids} - set(contender.programs.values())
        with machine.paused(idle):
            return run_alone(contender, number, attempt)

    def run_alone(contender: Contender, number: int, attempt: int) -> Figures:
        trees = {program: machine.tree_of(pid) for program, pid in contender.programs.items()}
        waited_s = machine.wait_for_calm(trees, options.calm_timeout_s)
        if waited_s > 1:
            say(f"  waited {waited_s:.0f} s for a calmer machine")
        return measure_one(contender, number, attempt)

    return interleave(list(by_name), run_one, rounds=options.rounds, repetitions=options.repetitions, say=say)


def run_direct(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare the façade with calling the door directly, one text a call."""
    facade = stage.start_facade()
    contenders: list[Contender] = []
    for traffic in ("short", "log-normal"):
        contenders.append(stage.through(facade, f"façade, {traffic}", traffic=traffic))
        contenders.append(stage.directly(f"tritonclient, {traffic}", traffic=traffic))
    rounds = compare(stage, contenders, 32, options, say)
    goals = [
        at_least(
            f"texts/s through the façade ÷ tritonclient.grpc.aio straight to the door, {traffic}",
            0.9,
            ratio_of(rounds, f"façade, {traffic}", f"tritonclient, {traffic}"),
        )
        for traffic in ("short", "log-normal")
    ]
    memory = machine.memory_of(facade.process.pid)
    return SuiteResult(
        name="direct",
        title="Through the façade, and straight to Triton",
        about=(
            "Closed loop, 32 callers, unique texts, one text a request. The façade: POST /v1/embeddings, base64, one "
            "worker, default settings. Directly: tritonclient.grpc.aio, one client, one text a call. The generator "
            "runs on the same cores; a call costs it much more with tritonclient than with our HTTP client (see its "
            "CPU time), which is part of what a gRPC user pays."
        ),
        goals=goals,
        rounds=rounds,
        notes=[f"The façade after this load: {memory.pss_mib:.0f} MiB PSS, {memory.rss_mib:.0f} MiB RSS."],
    )


def run_lengths(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare the door with one that pads to the longest text, and with no batching at all."""
    ours, padding, peer = "façade + door", "façade + padding door", FASTAPI_ONNXRUNTIME.title
    facade = stage.start_facade()
    contenders = [
        stage.through(facade, ours, traffic="log-normal"),
        stage.through(facade, padding, variant=PADDING, traffic="log-normal"),
        replace(stage.start_peer(FASTAPI_ONNXRUNTIME), traffic="log-normal"),
    ]
    rounds = compare(stage, contenders, 64, options, say)
    return SuiteResult(
        name="lengths",
        title="Mixed lengths",
        about=(
            "Closed loop, 64 callers, unique texts of 3 to 200 words, log-normal, one text a request; the same ONNX "
            "file for all. The padding door is ours with a grouping that never cuts. The peer is FastAPI + onnxruntime "
            f"in a thread pool of {machine.cores()}, one thread a run, no batching, no key, no limits."
        ),
        goals=[
            at_least(
                "texts/s of the door ÷ a door that pads to the longest", 3.0, ratio_of(rounds, ours, padding)
            ),
            at_least("texts/s ÷ FastAPI + onnxruntime, unbatched", 1.0, ratio_of(rounds, ours, peer)),
        ],
        rounds=rounds,
    )


def run_rest(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Start façades, one after the other: how long it takes, and what one weighs."""
    pss, rss, seconds = [], [], []
    for number in range(1, options.starts + 1):
        machine.wait_for_calm({}, options.calm_timeout_s)
        took_s, memory = start_once(stage)
        seconds.append(took_s)
        pss.append(memory.pss_mib)
        rss.append(memory.rss_mib)
        say(f"  start {number}: {took_s:.2f} s, {memory.pss_mib:.0f} MiB PSS, {memory.rss_mib:.0f} MiB RSS")
    return SuiteResult(
        name="rest",
        title="A façade at rest",
        about=(
            f"{options.starts} starts of one worker: from the process's start to the first 200 of /health/live, and "
            f"its memory {SETTLE_S:.0f} s after /health/ready."
        ),
        goals=[
            below("memory of a worker at rest, RSS, MiB", 120, spread_of(rss)),
            below("process start to the first answer, s", 1.5, spread_of(seconds)),
        ],
        notes=[f"PSS, MiB: {spread_of(pss).median:.0f} (median)."],
    )


def start_once(stage: Stage) -> tuple[float, machine.Memory]:
    """
    Start a façade and stop it.

    Args:
        stage: Where Triton runs.

    Returns:
        Seconds to its first answer, and its memory when it has settled.
    """
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "facade", "serve", "--port", url.rsplit(":", 1)[1]]
    environment = facade_environment(stage.triton.grpc_url)
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, cwd=machine.CHECKOUT, stderr=subprocess.DEVNULL)
    try:
        await_answer(f"{url}/health/live", process, timeout_s=30, poll_s=0.005)
        took_s = time.perf_counter() - started
        await_answer(f"{url}/health/ready", process, timeout_s=30)
        time.sleep(SETTLE_S)
        return took_s, machine.memory_of(process.pid)
    finally:
        process.terminate()
        process.wait(timeout=20)


SUITES = {"rest": run_rest, "direct": run_direct, "lengths": run_lengths}
"""Suites of a whole run, in their order."""
