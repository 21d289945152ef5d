"""Search for good defaults: settings in turn under the same load. Not part of a whole run: ``--only tune-…``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.load.rounds import ratio_of
from tests.load.stage import CORE_NAME, Stage, Variant
from tests.load.suites import Options, SuiteResult, compare

if TYPE_CHECKING:
    from tests.load.measure import Contender
    from tests.load.suites import Say

CALLS_IN_FLIGHT = (1, 2, 3, 4)
CONCURRENCY = 64

VARIANTS = (
    Variant("rows-32", max_batch_size=32),
    Variant("rows-128", max_batch_size=128),
    Variant("doors-1", door_instances=1),
    Variant("cores-1x2", core={"instances": 1, "threads": 2}),
    Variant("cores-2x2", core={"instances": 2, "threads": 2}),
    Variant("cores-3x1", core={"instances": 3, "threads": 1}),
    Variant("call-12", grouping={"call_tokens": 12}),
    Variant("call-48", grouping={"call_tokens": 48}),
    Variant("tokens-512", grouping={"limit_tokens": 512}),
    Variant("tokens-1024", grouping={"limit_tokens": 1024}),
)
"""Each differs from the exported model in one thing; names say in what."""


def run_calls(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare numbers of merged calls that a façade keeps under way."""
    contenders: list[Contender] = []
    facades = {calls: stage.start_facade(FACADE_CALLS_IN_FLIGHT=str(calls)) for calls in CALLS_IN_FLIGHT}
    for traffic in ("short", "log-normal"):
        contenders += [
            stage.through(facade, f"{calls} calls, {traffic}", traffic=traffic)
            for calls, facade in facades.items()
        ]
    rounds = compare(stage, contenders, CONCURRENCY, options, say)
    return SuiteResult(
        name="tune-calls",
        title="FACADE_CALLS_IN_FLIGHT",
        about=f"Closed loop, {CONCURRENCY} callers; one façade for each value, in turn.",
        goals=[],
        rounds=rounds,
        notes=[
            f"{calls} ÷ 2, {traffic}: {_ratio(rounds, f'{calls} calls, {traffic}', f'2 calls, {traffic}')}"
            for traffic in ("short", "log-normal")
            for calls in CALLS_IN_FLIGHT
        ],
    )


def run_profile(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare numbers of the exporter's CPU profile, one changed at a time, on log-normal lengths."""
    return _run_profile(stage, options, say, name="tune-profile", traffic="log-normal")


def run_profile_short(stage: Stage, options: Options, say: Say) -> SuiteResult:
    """Compare the same on short texts."""
    return _run_profile(stage, options, say, name="tune-profile-short", traffic="short")


def _run_profile(stage: Stage, options: Options, say: Say, *, name: str, traffic: str) -> SuiteResult:
    facade = stage.start_facade()
    contenders = [stage.through(facade, "as exported", traffic=traffic)]
    contenders += [
        stage.through(facade, variant.name, variant=variant, traffic=traffic) for variant in VARIANTS
    ]
    rounds = compare(stage, contenders, CONCURRENCY, options, say)
    return SuiteResult(
        name=name,
        title=f"The exporter's CPU profile, {traffic} lengths",
        about=(
            f"Closed loop, {CONCURRENCY} callers; the exported model ({CORE_NAME}: 2 copies, 1 thread; 2 doors; 64 "
            "rows; groups of 256 tokens, a call worth 24) and variants that differ in one thing. cores-2x2: 2 copies "
            "of 2 threads."
        ),
        goals=[],
        rounds=rounds,
        notes=[
            f"{variant.name} ÷ as exported: {_ratio(rounds, variant.name, 'as exported')}"
            for variant in VARIANTS
        ],
    )


def _ratio(rounds: list[dict[str, dict[str, object]]], above: str, below: str) -> str:
    ratio = ratio_of(rounds, above, below)
    return f"{ratio.median:.2f} ({ratio.least:.2f}-{ratio.most:.2f})"


TUNINGS = {
    "tune-calls": run_calls,
    "tune-profile": run_profile,
    "tune-profile-short": run_profile_short,
}
"""Searches by their name on the command line."""
