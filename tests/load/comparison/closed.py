"""Closed loops beside the peers: unique texts, repeated texts, several texts a request, other calls between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.load.comparison import perf_analyzer
from tests.load.comparison.field import (
    OURS,
    gather,
    named,
    ratio_to_best,
    with_traffic,
)
from tests.load.measure import Load, measure
from tests.load.peers.roster import STARTING_POINT
from tests.load.rounds import ratio_of, spread_of
from tests.load.suites import SuiteResult, at_least, below, compare, take_turns
from tests.load.texts import ZIPF, ZIPF_TEXTS

if TYPE_CHECKING:
    from tests.load.comparison.field import Field
    from tests.load.measure import Contender
    from tests.load.rounds import Figures, Round
    from tests.load.stage import Stage
    from tests.load.suites import Goal, Options, Say

CONCURRENCY = 64
BATCH_CALLERS, MOST_TEXTS = 16, 64
OTHER_SHARE = 0.2
SHORT, MIXED = "short", "log-normal"
AUTO = "façade, --precision auto"

ABOUT_PEERS = (
    "The same ONNX file and tokenizer for all, one onnxruntime thread a session, each with the settings of "
    "tests/load/peers/roster.py, vectors in base64. The façade has its default settings: key, limits, "
    "deadlines, a log line a request."
)


def run_peers(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare unique texts, one a request, short and of mixed lengths."""
    field = gather(stage, say, with_direct=True, with_start=True)
    contenders = with_traffic(field.everyone(), SHORT) + with_traffic(field.everyone(), MIXED)
    load = Load(str(stage.tokenizer_file), CONCURRENCY, options.warmup_s, options.measure_s)
    rounds = _take_turns(stage, contenders, load, options, say)
    return SuiteResult(
        name="peers",
        title="Beside other servers of the same model",
        about=f"Closed loop, {CONCURRENCY} callers, unique texts, one a request. {ABOUT_PEERS}",
        goals=[
            *_peer_goals(field, rounds),
            *_direct_goals(field, rounds),
            *_start_goals(rounds, named(OURS, SHORT)),
            at_least(
                "useful ÷ padded tokens in the core's batches, log-normal",
                0.9,
                spread_of([one[named(OURS, MIXED)]["useful_share"] for one in rounds]),
            ),
        ],
        rounds=rounds,
        notes=field.notes,
    )


def _peer_goals(field: Field, rounds: list[Round]) -> list[Goal]:
    peers = [peer.name for peer in field.peers]
    batching = [name for name in peers if name in field.batching]
    wanted = [
        ("texts/s ÷ the best peer's, log-normal", 1.6, MIXED, peers),
        ("texts/s ÷ the best peer's that batches, log-normal", 2.5, MIXED, batching),
        ("texts/s ÷ the best peer's, short", 1.2, SHORT, peers),
    ]
    return [
        at_least(
            what, bound, ratio_to_best(rounds, named(OURS, traffic), [named(name, traffic) for name in names])
        )
        for what, bound, traffic, names in wanted
        if names
    ]


def _direct_goals(field: Field, rounds: list[Round]) -> list[Goal]:
    return [
        at_least(
            f"texts/s ÷ straight to Triton, one text a call, the best client's, {traffic}",
            1.2,
            ratio_to_best(rounds, named(OURS, traffic), [named(one.name, traffic) for one in field.direct]),
        )
        for traffic in (SHORT, MIXED)
    ]


def _start_goals(rounds: list[Round], ours: str, bound: float = 8) -> list[Goal]:
    start = named(STARTING_POINT.title, SHORT)
    return [
        at_least(f"texts/s of {ours} ÷ {STARTING_POINT.title}", bound, ratio_of(rounds, ours, start)),
        below(f"p99 of {ours} ÷ {STARTING_POINT.title}", 0.2, ratio_of(rounds, ours, start, "p99_ms")),
    ]


def run_zipf(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare traffic that repeats itself, with the façade's cache."""
    field = gather(stage, say, with_start=True)
    rounds = compare(stage, with_traffic(field.everyone(), ZIPF), CONCURRENCY, options, say)
    start = named(STARTING_POINT.title, ZIPF)
    return SuiteResult(
        name="zipf",
        title="Repeated texts",
        about=(
            f"Closed loop, {CONCURRENCY} callers, {ZIPF_TEXTS:,} different short texts by Zipf's law (s = 1), one a "
            "request. Each measurement has texts of its own, so the façade's cache knows nothing at its beginning and "
            f"fills while it is measured; no peer has a cache. {ABOUT_PEERS}"
        ),
        goals=[at_least(f"texts/s ÷ {STARTING_POINT.title}", 25, ratio_of(rounds, named(OURS, ZIPF), start))],
        rounds=rounds,
        notes=field.notes,
    )


def run_batches(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare requests that have several texts."""
    field = gather(stage, say)
    load = Load(
        str(stage.tokenizer_file), BATCH_CALLERS, options.warmup_s, options.measure_s, most_texts=MOST_TEXTS
    )
    rounds = _take_turns(stage, with_traffic(field.everyone(), MIXED), load, options, say)
    return SuiteResult(
        name="batches",
        title="Several texts a request",
        about=(
            f"Closed loop, {BATCH_CALLERS} callers, 1 to {MOST_TEXTS} texts a request, log-uniform; unique texts of "
            f"log-normal lengths. {ABOUT_PEERS}"
        ),
        goals=[],
        rounds=rounds,
        notes=field.notes,
    )


def run_mixed(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare traffic of which a part asks for something else than vectors."""
    field = gather(stage, say)
    load = Load(
        str(stage.tokenizer_file), CONCURRENCY, options.warmup_s, options.measure_s, other_share=OTHER_SHARE
    )
    rounds = _take_turns(stage, with_traffic(field.everyone(), MIXED), load, options, say)
    return SuiteResult(
        name="mixed",
        title="Other calls between them",
        about=(
            f"Closed loop, {CONCURRENCY} callers; {1 - OTHER_SHARE:.0%} of requests are unique texts of log-normal "
            f"lengths, one a request, {OTHER_SHARE:.0%} ask in turn for the list of models, life and readiness, or "
            f"what a peer has of them. Latency is that of texts. {ABOUT_PEERS}"
        ),
        goals=[],
        rounds=rounds,
        notes=field.notes,
    )


def _take_turns(
    stage: Stage, contenders: list[Contender], load: Load, options: Options, say: Say
) -> list[Round]:
    def measure_one(contender: Contender, number: int, attempt: int) -> Figures:
        seed = f"{contender.traffic} {number}"
        if contender.protocol == perf_analyzer.NAME:
            return perf_analyzer.measure_perf_analyzer(contender, load, seed, stage.folder)
        return measure(contender, load, seed, attempt)

    return take_turns(contenders, measure_one, options, say)


def run_start(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare the façade, and the fastest precision that passes parity, with where many services start."""
    say("  exporting with --precision auto")
    auto = stage.export_auto()
    facade = stage.start_facade()
    ours = stage.through(facade, OURS)
    contenders = [ours, stage.through(facade, AUTO, variant=auto), stage.start_peer(STARTING_POINT)]
    rounds = compare(stage, with_traffic(contenders, SHORT), CONCURRENCY, options, say)
    mixed = compare(stage, with_traffic(contenders[:2], MIXED), CONCURRENCY, options, say)
    for one, more in zip(rounds, mixed, strict=True):
        one.update(more)
    goals = _start_goals(rounds, named(OURS, SHORT)) + _start_goals(rounds, named(AUTO, SHORT), 15)
    goals += [
        at_least(
            f"texts/s of --precision auto ÷ fp32, {traffic}",
            1.8,
            ratio_of(rounds, named(AUTO, traffic), named(OURS, traffic)),
        )
        for traffic in (SHORT, MIXED)
    ]
    return SuiteResult(
        name="start",
        title="Beside where many services start",
        about=(
            f"Closed loop, {CONCURRENCY} callers, unique texts, one a request, nothing from memory. "
            f"{STARTING_POINT.title}: one sentence-transformers call a request, no batch, no cache, original weights."
        ),
        goals=goals,
        rounds=rounds,
    )


CLOSED_SUITES = {
    "peers": run_peers,
    "start": run_start,
    "zipf": run_zipf,
    "batches": run_batches,
    "mixed": run_mixed,
}
"""Suites by their name on the command line."""
