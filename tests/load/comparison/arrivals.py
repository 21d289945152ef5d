"""
Open loops beside the peers: arrivals come as a Poisson process, whatever a server makes of them.

Latency counts from the time a request should have left, so a server that falls behind can't slow down who measures it.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.load.comparison.closed import ABOUT_PEERS, CONCURRENCY, MIXED, SHORT
from tests.load.comparison.field import OURS, gather, named, ratio_to_best, with_traffic
from tests.load.measure import Arrivals, Load, measure, measure_open
from tests.load.rounds import spread_of
from tests.load.suites import SuiteResult, at_least, below, take_turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.load.measure import Contender
    from tests.load.rounds import Figures, Round
    from tests.load.stage import Stage
    from tests.load.suites import Goal, Options, Say

SHARE = 0.7
"""Of our capacity, which all are offered."""

BOUNDS_MS = (50, 100, 250)
"""Bounds of p99."""

STEPS = (0.4, 0.6, 0.8, 0.95)
"""Rates that are offered, in shares of each contender's own closed loop."""

STEP_SHARE = 0.6
"""A step's seconds, in those of a measurement elsewhere: there are many."""

CLOSED = "closed loop"


def run_open_loop(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Offer everybody what is 70 % of our capacity, and look at the latency."""
    field = gather(stage, say)
    rounds: list[Round] = [{} for _ in range(options.rounds)]
    goals: list[Goal] = []
    notes = list(field.notes)
    for traffic in (SHORT, MIXED):
        ours, *peers = with_traffic(field.everyone(), traffic)
        names = [ours.name, *(peer.name for peer in peers)]
        capacity = _find_capacity(stage, ours, options, say)
        rate_per_s = SHARE * capacity
        notes.append(
            f"{traffic}: our capacity, by closed loops of {CONCURRENCY} callers, is {capacity:.0f} texts/s; "
            f"{rate_per_s:.0f} texts/s were offered to all."
        )
        say(f"  {traffic}: {rate_per_s:.0f} texts/s for everybody")
        found = _offer([ours, *peers], dict.fromkeys(names, rate_per_s), stage, options, say)
        for one, more in zip(rounds, found, strict=True):
            one.update(more)
        if peers:
            ratio = ratio_to_best(rounds, ours.name, [peer.name for peer in peers], "p99_ms", is_least=True)
            goals.append(
                below(f"p99 at {SHARE:.0%} of our capacity ÷ the best peer's, {traffic}", 0.6, ratio)
            )
    return SuiteResult(
        name="open-loop",
        title="Arrivals that don't wait",
        about=(
            f"Open loop: Poisson arrivals of unique texts at {SHARE:.0%} of the façade's capacity, the same rate for "
            "all. Latency counts from the time a request was due; one that is refused, or isn't answered 10 s after "
            f"the last arrival, counts as 10 s. {ABOUT_PEERS}"
        ),
        goals=goals,
        rounds=rounds,
        notes=notes,
    )


def run_bounded(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Find the highest rate at which p99 keeps within a bound."""
    field = gather(stage, say)
    contenders = with_traffic(field.everyone(), MIXED)
    short = replace(options, rounds=1, measure_s=options.measure_s * STEP_SHARE)
    capacities = {contender.name: _find_capacity(stage, contender, short, say) for contender in contenders}
    rounds: list[Round] = [{} for _ in range(options.rounds)]
    stepping = replace(options, measure_s=options.measure_s * STEP_SHARE)
    for share in STEPS:
        stepped = [replace(one, name=f"{one.name} at {share:.0%}") for one in contenders]
        rates = {
            step.name: share * capacities[one.name] for step, one in zip(stepped, contenders, strict=True)
        }
        found = _offer(stepped, rates, stage, stepping, say)
        for one, more in zip(rounds, found, strict=True):
            one.update(more)
    notes = list(field.notes)
    goals = []
    peers = [peer.name for peer in contenders[1:]]
    for bound_ms in BOUNDS_MS:
        kept = {
            contender.name: [rate_within(steps_of(one, contender.name), bound_ms) for one in rounds]
            for contender in contenders
        }
        for name, found_rates in kept.items():
            spread = spread_of(found_rates)
            notes.append(
                f"p99 ≤ {bound_ms} ms, {name}: {spread.median:.0f} ({spread.least:.0f}-{spread.most:.0f}) texts/s."
            )
        if peers:
            goals.append(_bounded_goal(kept, named(OURS, MIXED), peers, bound_ms))
    return SuiteResult(
        name="bounded",
        title="Throughput within a bound of latency",
        about=(
            "Open loop: Poisson arrivals of unique texts of log-normal lengths, at several shares of what each "
            f"contender does in a closed loop of {CONCURRENCY} callers. The highest rate within a bound is read "
            "between the last step that keeps it and the first that doesn't, on a line of the logarithm of p99. "
            f"{ABOUT_PEERS}"
        ),
        goals=goals,
        rounds=rounds,
        notes=notes,
    )


def steps_of(one: Round, name: str) -> list[tuple[float, float]]:
    """
    Gather a contender's steps in a round.

    Args:
        one: The round.

        name: The contender's.

    Returns:
        Offered texts a second and p99 in milliseconds, ascending.
    """
    return sorted(
        (figures["offered_per_s"], figures["p99_ms"])
        for step, figures in one.items()
        if step.startswith(f"{name} at ")
    )


def rate_within(steps: Sequence[tuple[float, float]], bound_ms: float) -> float:
    """
    Find the highest rate within a bound.

    Args:
        steps: Rates and their p99 in milliseconds, ascending.

        bound_ms: The bound.

    Returns:
        Texts a second; below the first step in proportion to it, if even that exceeds the bound.
    """
    kept_rate, kept_ms = 0.0, 1.0
    for rate, p99_ms in steps:
        if p99_ms > bound_ms:
            if kept_ms >= bound_ms:
                return kept_rate
            share = math.log(bound_ms / kept_ms) / math.log(p99_ms / kept_ms)
            # Nothing is known of what happens below the first step.
            return kept_rate + share * (rate - kept_rate) if kept_rate else 0.0
        kept_rate, kept_ms = rate, p99_ms
    return kept_rate


def _bounded_goal(kept: dict[str, list[float]], ours: str, peers: list[str], bound_ms: float) -> Goal:
    ratios = [
        mine / max(1.0, *(kept[peer][number] for peer in peers)) for number, mine in enumerate(kept[ours])
    ]
    return at_least(f"texts/s with p99 ≤ {bound_ms} ms ÷ the best peer's, log-normal", 1.0, spread_of(ratios))


def _find_capacity(stage: Stage, contender: Contender, options: Options, say: Say) -> float:
    """Measure a closed loop a few times; the median is the capacity."""
    load = Load(str(stage.tokenizer_file), CONCURRENCY, options.warmup_s, options.measure_s)

    def measure_one(one: Contender, number: int, attempt: int) -> Figures:
        return measure(one, load, seed=f"capacity {one.traffic} {number}", attempt=attempt)

    closed = replace(contender, name=f"{contender.name}, {CLOSED}")
    rounds = take_turns([closed], measure_one, options, say)
    return spread_of([one[closed.name]["texts_per_s"] for one in rounds]).median


def _offer(
    contenders: Sequence[Contender], rates: dict[str, float], stage: Stage, options: Options, say: Say
) -> list[Round]:
    """Offer each contender its rate, by its name, in texts a second."""

    def measure_one(contender: Contender, number: int, attempt: int) -> Figures:
        rate = rates[contender.name]
        arrivals = Arrivals(str(stage.tokenizer_file), rate, options.warmup_s, options.measure_s)
        return measure_open(contender, arrivals, f"{contender.traffic} {number}", attempt)

    return take_turns(contenders, measure_one, options, say)


ARRIVAL_SUITES = {"open-loop": run_open_loop, "bounded": run_bounded}
"""Suites by their name on the command line."""
