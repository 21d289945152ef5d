"""
One thing after another goes wrong under steady load; what callers see of it is written down.

Progress goes to stderr; ``chaos-results/<date>/`` gets chaos.json, chaos.md and chaos.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.chaos.balancer import Balancer
from tests.chaos.faults import FAULTS
from tests.chaos.page import to_svg, to_table
from tests.chaos.stack import Stack
from tests.chaos.verdict import RIGHT, Outcome, judge, sum_up, to_json
from tests.load import machine
from tests.stack import KEY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.chaos.faults import Fault

RESULTS = machine.CHECKOUT / "chaos-results"
BEFORE_S = 4.0
"""Seconds of load before each fault."""

WARMUP_S = 5.0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """
    Read the command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The choices.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--list", action="store_true", help="list the faults, and end")
    parser.add_argument(
        "--only", action="append", choices=list(FAULTS), help="try this alone; may be given again"
    )
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second (default: 40)")
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="seconds of load after each fault's end (default: 15)"
    )
    return parser.parse_args(arguments)


async def run(names: Sequence[str], rate_per_s: float, after_s: float, seed: int = 1) -> dict[str, Any]:
    """
    Start the stack, try the faults, stop it.

    Args:
        names: Of the faults.

        rate_per_s: Requests a second.

        after_s: Seconds of load after a fault's end.

        seed: Fixes texts and times.

    Returns:
        What chaos.json holds.
    """
    async with Stack(say, seed) as stack:
        await Balancer(stack.addresses, KEY, stack.truth, rate_per_s, seed).run(WARMUP_S)
        faults = []
        for number, name in enumerate(names, start=1):
            await stack.wait_whole()
            one = await try_one(stack, FAULTS[name], rate_per_s, after_s, seed + number)
            faults.append({"name": name, **one})
            verdict = one["verdict"]
            say(
                f"{name:17} {verdict['availability']:8.2%} right of {verdict['due']}, {verdict['wrong']} wrong, "
                f"{verdict['failed']} failed, {verdict['late']} late; longest outage "
                f"{verdict['longest_outage_s']:.2f} s, recovery {verdict['recovery_s']:.2f} s"
            )
            for reason, count in verdict["reasons"].items():
                say(f"    {count} x {reason}")
    return {
        "environment": machine.describe(),
        "rate_per_s": rate_per_s,
        "faults": faults,
        "total": sum_up(faults),
    }


async def try_one(stack: Stack, fault: Fault, rate_per_s: float, after_s: float, seed: int) -> dict[str, Any]:
    """
    Try one fault.

    Args:
        stack: Where.

        fault: Which.

        rate_per_s: Requests a second.

        after_s: Seconds of load after its end.

        seed: Fixes texts and times.

    Returns:
        Its part of chaos.json.
    """
    balancer = Balancer(stack.addresses, KEY, stack.truth, rate_per_s, seed)
    began = time.monotonic()
    load = asyncio.create_task(balancer.run(BEFORE_S + fault.seconds + after_s))
    await asyncio.sleep(BEFORE_S)
    begins_s = time.monotonic() - began
    await fault.begin(stack)
    await asyncio.sleep(fault.seconds)
    await fault.end(stack)
    ends_s = time.monotonic() - began
    outcomes = await load
    return {
        "title": fault.title,
        "begins_s": begins_s,
        "ends_s": ends_s,
        "right_by_second": right_by_second(outcomes),
        "verdict": to_json(judge(outcomes, ends_s)),
    }


def right_by_second(outcomes: Sequence[Outcome]) -> list[float | None]:
    """
    Tell for each second what share of the requests due in it ended right.

    Args:
        outcomes: Of all requests.

    Returns:
        Shares, from the first second on; None where nothing was due.
    """
    seconds: list[list[bool]] = [[] for _ in range(int(max(one.due_s for one in outcomes)) + 1)]
    for one in outcomes:
        seconds[int(one.due_s)].append(one.how == RIGHT)
    return [sum(second) / len(second) if second else None for second in seconds]


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run from the command line.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        0 if no answer was wrong and nothing hung, else 1; availability and recovery are told and don't count.
    """
    chosen = parse(sys.argv[1:] if arguments is None else arguments)
    if chosen.list:
        for name, fault in FAULTS.items():
            sys.stdout.write(f"{name:17} {fault.title}\n")
        return 0
    names = chosen.only or list(FAULTS)
    lasts_s = sum(BEFORE_S + FAULTS[name].seconds + chosen.seconds for name in names)
    say(f"{len(names)} faults; about {(lasts_s + 60) / 60:.0f} minutes")
    results = asyncio.run(run(names, chosen.rate, chosen.seconds))
    folder = RESULTS / time.strftime("%Y-%m-%d_%H%M%S")
    folder.mkdir(parents=True)
    (folder / "chaos.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "chaos.md").write_text(to_table(results) + "\n", encoding="utf-8")
    (folder / "chaos.svg").write_text(to_svg(results), encoding="utf-8")
    say(f"\n{to_table(results)}\n\nchaos.json, chaos.md and chaos.svg are in {folder}")
    goals = list(results["total"]["goals"].values())
    return 0 if all(goals[:2]) else 1


def say(line: str) -> None:
    """
    Write a line of progress.

    Args:
        line: Without a newline.
    """
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
