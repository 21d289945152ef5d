"""The command line: ``python -m tests.load.capacity``."""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.load.capacity.check import Check, check
from tests.load.capacity.costs import MEASURED, fit
from tests.load.capacity.model import Need, Plan, size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECONDS_A_DAY = 86_400


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the command line.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The choices.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.load.capacity",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "How many façades, Tritons and Redis shards a rate needs.\n\n"
            "Costs are those measured on two cores with all-MiniLM-L6-v2 (docs/capacity.md): replace them by your\n"
            "own with --costs. A GPU's tokens a second aren't known here: measure them there, and give them."
        ),
        epilog=(
            "examples:\n"
            "  # 35 requests a second of 29 tokens each, 60 % of them known\n"
            "  python -m tests.load.capacity --requests-per-s 35 --tokens-per-text 29 --hit-rate 0.6\n"
            "  # three million a day; the busiest second has three times the mean\n"
            "  python -m tests.load.capacity --requests-per-day 3000000 --peak-factor 3 --hit-rate 0.6\n"
            "  # a GPU that reads 500,000 tokens a second, by your own measurement\n"
            "  python -m tests.load.capacity --requests-per-s 100000 --triton-tokens-per-s 500000\n"
            "  # what your machine costs: measure, then use it, and see how far the model is off\n"
            "  make bench-growth && python -m tests.load.capacity --requests-per-s 35 --check \\\n"
            "      --costs bench-results/<date>-growth/results.json"
        ),
    )
    rate = parser.add_mutually_exclusive_group(required=True)
    rate.add_argument("--requests-per-s", type=_positive, help="requests in the busiest second")
    rate.add_argument("--requests-per-day", type=_positive, help="requests of a day; see --peak-factor")
    parser.add_argument(
        "--peak-factor",
        type=_positive,
        default=3.0,
        help="busiest second ÷ mean second of a day (default: 3)",
    )
    parser.add_argument("--texts-per-request", type=_positive, default=1.0, help="mean (default: 1)")
    parser.add_argument(
        "--tokens-per-text", type=_positive, default=29.0, help="mean, special tokens included (default: 29)"
    )
    parser.add_argument(
        "--hit-rate", type=_share, default=0.0, help="share of texts that are in a cache, 0 to 1 (default: 0)"
    )
    parser.add_argument(
        "--triton-tokens-per-s",
        type=_positive,
        help="of one Triton, at full load (default: the measured CPU's)",
    )
    parser.add_argument("--no-redis", action="store_true", help="each façade counts and remembers for itself")
    parser.add_argument(
        "--kept-answers", type=_count, default=0.0, help="answers that Redis is to hold (default: 0)"
    )
    parser.add_argument(
        "--headroom",
        type=_share,
        default=0.4,
        help="share of every part left free at the peak (default: 0.4)",
    )
    parser.add_argument(
        "--spares", type=_whole(0), default=1, help="façades and Tritons that may fail (default: 1)"
    )
    parser.add_argument(
        "--workers", type=_whole(1), default=4, help="workers, so cores, of a façade (default: 4)"
    )
    parser.add_argument("--shard-memory-gib", type=_positive, default=8.0, help="for answers (default: 8)")
    parser.add_argument(
        "--costs", type=Path, metavar="RESULTS.json", help="costs of this run of make bench-growth"
    )
    parser.add_argument("--check", action="store_true", help="also compare the model with the run of --costs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    chosen = parser.parse_args(arguments)
    if chosen.check and chosen.costs is None:
        parser.error("--check compares with a run: name it with --costs RESULTS.json")
    if chosen.headroom == 1:
        parser.error("--headroom 1 leaves nothing to work with")
    return chosen


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be above 0")
    return value


def _count(text: str) -> float:
    value = float(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must not be below 0")
    return value


def _whole(least: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if (value := int(text)) < least:
            raise argparse.ArgumentTypeError(f"{text} must be at least {least}")
        return value

    return read


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} must be between 0 and 1")
    return value


def to_plan(chosen: argparse.Namespace) -> Plan:
    """
    Turn the command line's choices into a plan.

    Args:
        chosen: From `parse`.

    Returns:
        The plan, at its peak.
    """
    rate = chosen.requests_per_s or chosen.requests_per_day / SECONDS_A_DAY * chosen.peak_factor
    return Plan(
        requests_per_s=rate,
        texts_a_request=chosen.texts_per_request,
        tokens_a_text=chosen.tokens_per_text,
        hit_rate=chosen.hit_rate,
        triton_tokens_per_s=chosen.triton_tokens_per_s,
        uses_redis=not chosen.no_redis,
        kept_answers=chosen.kept_answers,
        headroom=chosen.headroom,
        spares=chosen.spares,
        workers_a_facade=chosen.workers,
        shard_memory_gib=chosen.shard_memory_gib,
    )


def describe(plan: Plan, needs: list[Need]) -> str:
    """
    Write the answer for people.

    Args:
        plan: What was asked.

        needs: What it takes.

    Returns:
        Some lines.
    """
    lines = [
        (
            f"{plan.requests_per_s:,.0f} requests/s of {plan.texts_a_request:g} text(s), {plan.tokens_a_text:g} tokens "
            f"each, {plan.hit_rate:.0%} known; {plan.headroom:.0%} headroom, {plan.spares} spare:"
        )
    ]
    lines += [f"  {need.count:>6,} {need.part:<13} {need.because}" for need in needs]
    if plan.triton_tokens_per_s is None:
        lines.append("  A Triton here is two CPU cores with all-MiniLM-L6-v2 in fp32; no GPU was measured.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Answer on stdout.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code: 0 done, 2 a file that isn't a run's.
    """
    chosen = parse(arguments)
    checks: list[Check] = []
    costs = MEASURED
    try:
        if chosen.costs is not None:
            results = json.loads(chosen.costs.read_text(encoding="utf-8"))
            costs = fit(results)
            checks = check(costs, results) if chosen.check else []
    except (OSError, ValueError, KeyError) as error:
        sys.stderr.write(f"--costs: {chosen.costs} can't be used: {error}\n")
        return 2
    plan = to_plan(chosen)
    needs = size(costs, plan)
    if chosen.json:
        found = {"plan": asdict(plan), "costs": asdict(costs), "needs": [asdict(need) for need in needs]}
        found["checks"] = [{**asdict(one), "error": one.error} for one in checks]
        sys.stdout.write(json.dumps(found, indent=1) + "\n")
        return 0
    sys.stdout.write(describe(plan, needs) + "\n")
    for one in checks:
        note = " (fitted)" if one.is_fitted else ""
        line = f"  {one.what}: predicted {one.predicted:,.0f}, measured {one.measured:,.0f}, {one.error:+.0%}{note}"
        sys.stdout.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
