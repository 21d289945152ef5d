"""
How cost grows with the work: ``python -m tests.load.growth.bench``, or ``make bench-growth``.

Progress goes to stderr; ``bench-results/<date>-growth/`` gets results.json and report.html.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local.triton import TritonFailed
from tests.load import machine
from tests.load.growth import models, report
from tests.load.growth.cache_suites import CACHE_SUITES
from tests.load.growth.key_suite import run_keys
from tests.load.growth.mix_suite import run_mix, run_mix_redis
from tests.load.growth.model_suite import run_models
from tests.load.growth.request_suites import Bench, run_concurrency, run_length, run_texts
from tests.load.measure import BenchFailed
from tests.load.report import replace_between

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.load.growth.series import Growth

SUITES: dict[str, Callable[[Bench], Growth]] = {
    "concurrency": run_concurrency,
    "texts": run_texts,
    "length": run_length,
    "models": run_models,
    "keys": run_keys,
    **CACHE_SUITES,
    "mix": run_mix,
    "mix-redis": run_mix_redis,
}
"""Suites of a whole run, in their order."""

MINUTES = {
    "concurrency": 2.0,
    "texts": 3.0,
    "length": 2.0,
    "models": 2.5,
    "keys": 3.0,
    "cache": 1.5,
    "redis": 2.5,
    "mix": 1.3,
    "mix-redis": 1.3,
}
"""About what each takes on two calm cores, with three rounds; for the estimate that a run begins with."""

NEEDS = {
    "concurrency": models.WHOLE,
    "texts": models.SHALLOW,
    "length": models.WHOLE,
    "models": models.TINY,
    "keys": models.SHALLOW,
    "mix": models.WHOLE,
    "mix-redis": models.WHOLE,
}
"""The model that a suite serves."""

DOCS = machine.CHECKOUT / "docs" / "capacity.md"
RESULTS = machine.CHECKOUT / "bench-results"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """
    Read the command line.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The choices.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.load.growth.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short round, and none of the largest sizes")
    parser.add_argument(
        "--only", action="append", choices=[*SUITES], help="run this alone; may be given again"
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each suite (default: 3)")
    parser.add_argument(
        "--limit-s",
        type=float,
        default=240.0,
        help="a suite begins no round that would end later, however slow the machine is (default: 240)",
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=machine.CHECKOUT / ".cache" / "growth-models",
        help="where exported models are kept between runs (default: .cache/growth-models)",
    )
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/capacity.md")
    parser.add_argument(
        "--from",
        dest="sources",
        type=Path,
        nargs="+",
        metavar="RESULTS.json",
        help="run nothing; render these results, put together",
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure, or render what was measured.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code: 0 done, 1 failed, 130 interrupted.
    """
    chosen = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if chosen.sources:
            read = [json.loads(source.read_text(encoding="utf-8")) for source in chosen.sources]
            results = report.merge(read)
        else:
            results = run(chosen)
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return 130
    except (BenchFailed, TritonFailed, subprocess.CalledProcessError) as error:
        say(f"failed: {error}")
        return 1
    folder = RESULTS / time.strftime("%Y-%m-%d_%H%M%S-growth")
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (folder / "report.html").write_text(report.to_html(results), encoding="utf-8")
    if chosen.write_docs:
        text = DOCS.read_text(encoding="utf-8")
        DOCS.write_text(replace_between(text, "growth", report.to_markdown(results)), encoding="utf-8")
        say(f"wrote {DOCS}")
    for suite in results["suites"]:
        for line in report.verdicts(report.from_json(suite)):
            say(f"{suite['name']}: {line}")
    say(f"results.json and report.html are in {folder}")
    return 0


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """
    Export what is missing, run the suites, each with servers of its own.

    Args:
        chosen: The command line's choices.

    Returns:
        What results.json holds.
    """
    names = chosen.only or [*SUITES]
    rounds = 1 if chosen.quick else chosen.rounds
    minutes = sum(MINUTES[name] for name in names) * (0.4 if chosen.quick else (1 + rounds) / 4)
    say(f"{', '.join(names)}: about {minutes:.0f} minutes, and one for models that aren't exported yet")
    needed = list(dict.fromkeys(NEEDS[name] for name in names if name in NEEDS))
    bench = Bench(
        exported=models.export_models(chosen.models, needed),
        rounds=rounds,
        warmup_s=0.5,
        measure_s=1.0 if chosen.quick else 2.0,
        limit_s=chosen.limit_s,
        is_quick=chosen.quick,
        say=say,
    )
    environment = machine.describe()
    suites = []
    for name in names:
        started = time.monotonic()
        say(f"{name}:")
        suites.append(asdict(SUITES[name](bench)))
        say(f"{name}: took {time.monotonic() - started:.0f} s")
    return {"environment": environment, "suites": suites}


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
