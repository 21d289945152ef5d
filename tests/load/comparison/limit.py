"""The façade beside the model alone: how much of what the machine can do reaches a caller over HTTP."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING

from tests.load import machine
from tests.load.comparison.closed import CONCURRENCY, MIXED, SHORT
from tests.load.comparison.field import OURS, named
from tests.load.comparison.offline import OfflineResult, OfflineSpec
from tests.load.measure import Contender, Load, measure, read_counters, run_generator
from tests.load.rounds import ratio_of
from tests.load.stage import CORE_NAME
from tests.load.suites import SuiteResult, at_least, take_turns

if TYPE_CHECKING:
    from tests.load.rounds import Figures
    from tests.load.stage import Stage
    from tests.load.suites import Options, Say

OFFLINE = "the model alone"


def run_limit(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare the façade with the same file, offline, sorted by length, on all cores."""
    facade = stage.start_facade()
    contenders = []
    for traffic in (SHORT, MIXED):
        contenders.append(Contender(named(OFFLINE, traffic), OFFLINE, "", "", {}, traffic=traffic))
        contenders.append(stage.through(facade, named(OURS, traffic), traffic=traffic))
    load = Load(str(stage.tokenizer_file), CONCURRENCY, options.warmup_s, options.measure_s)

    def measure_one(contender: Contender, number: int, attempt: int) -> Figures:
        if contender.protocol == OFFLINE:
            return measure_offline(stage, contender, options, f"{contender.traffic} {number}")
        return measure(contender, load, seed=f"{contender.traffic} {number}", attempt=attempt)

    rounds = take_turns(contenders, measure_one, options, say)
    return SuiteResult(
        name="limit",
        title="How much of the model's own limit reaches a caller",
        about=(
            f"The model alone: the same ONNX file, {machine.cores()} threads of one session, texts tokenized "
            "beforehand and sorted by length, no server. The façade: closed loop, "
            f"{CONCURRENCY} callers, unique texts, one a "
            "request, the load generator on the same cores."
        ),
        goals=[
            at_least(
                f"texts/s through HTTP and façade ÷ the model's own limit, {traffic}",
                0.6,
                ratio_of(rounds, named(OURS, traffic), named(OFFLINE, traffic)),
            )
            for traffic in (SHORT, MIXED)
        ],
        rounds=rounds,
    )


def measure_offline(stage: Stage, contender: Contender, options: Options, seed: str) -> Figures:
    """
    Run the model alone.

    Args:
        stage: Where its file is.

        contender: Its name and kind of texts.

        options: How long.

        seed: Fixes the texts.

    Returns:
        Figures as `measure.measure` gives them, without latencies.
    """
    spec = OfflineSpec(
        contender=contender.name,
        graph=str(stage.repository / CORE_NAME / "1" / "model.onnx"),
        tokenizer_file=str(stage.tokenizer_file),
        traffic=contender.traffic,
        seed=seed,
        threads=machine.cores(),
        max_tokens=256,
        warmup_s=options.warmup_s,
        measure_s=options.measure_s,
    )
    told, before, after = run_generator(
        "tests.load.comparison.offline", asdict(spec), partial(read_counters, contender, {})
    )
    result = OfflineResult(**told)
    others_s = max(0.0, after.busy_s - before.busy_s - result.cpu_s)
    return {
        "texts_per_s": result.texts / result.measured_s,
        "answered": result.texts,
        "cpu_us_a_text": {"model": result.cpu_s / result.texts * 1e6},
        "others_share": others_s / result.measured_s / machine.cores(),
    }


LIMIT_SUITES = {"limit": run_limit}
"""Suites by their name on the command line."""
