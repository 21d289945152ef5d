"""
The benchmark's command line: ``python -m tests.load.bench``.

Progress goes to stderr; ``bench-results/<date>/`` gets results.json and report.html.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from deploy.local.triton import TritonFailed
from tests.load import machine, report
from tests.load.caller_suites import CALLER_SUITES
from tests.load.comparison.arrivals import ARRIVAL_SUITES
from tests.load.comparison.closed import CLOSED_SUITES
from tests.load.comparison.limit import LIMIT_SUITES
from tests.load.comparison.tuning import PEER_TUNINGS
from tests.load.measure import BenchFailed
from tests.load.stage import PADDING, Stage
from tests.load.suites import SUITES, Options
from tests.load.tuning import TUNINGS, VARIANTS
from tests.stack import export_model

if TYPE_CHECKING:
    from collections.abc import Sequence

DOCS = machine.CHECKOUT / "docs" / "benchmarks.md"
RESULTS = machine.CHECKOUT / "bench-results"
PEER_SUITES = {**CLOSED_SUITES, **ARRIVAL_SUITES, **LIMIT_SUITES}
SECTIONS = {
    "bench": SUITES,
    "callers": CALLER_SUITES,
    "peers": PEER_SUITES,
    "tuning": {**TUNINGS, **PEER_TUNINGS},
}
"""Suites by the section of docs/benchmarks.md that their tables stand in."""

ALL = {name: suite for suites in SECTIONS.values() for name, suite in suites.items()}


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """
    Read the command line.

    Args:
        arguments: Without the program's name.

    Returns:
        The choices.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.load.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="5 s a measurement instead of 10; a first look")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(ALL),
        help="run this alone; may be given again (default: all but the comparison with peers, for which see "
        "make bench-peers, and the searches for defaults, tune-…)",
    )
    parser.add_argument("--peers", action="store_true", help="run the comparison with peers: all its suites")
    parser.add_argument("--seconds", type=float, help="length of a measurement (default: 10, with --quick 5)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each suite (default: 3)")
    parser.add_argument(
        "--repository", type=Path, help="what `triton-export` wrote (default: the model is exported first)"
    )
    parser.add_argument(
        "--repetitions",
        type=int,
        default=5,
        help="disturbed measurements of a suite that may be repeated (default: 5)",
    )
    parser.add_argument("--calm-timeout-s", type=float, default=5.0, help="wait so long for a calm machine")
    parser.add_argument("--write-docs", action="store_true", help="write the tables into docs/benchmarks.md")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="RESULTS.json", help="run nothing; render these results"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure, or render what was measured.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code: 0 done (whether or not goals were reached), 1 failed, 130 interrupted.
    """
    chosen = parse(sys.argv[1:] if arguments is None else arguments)
    try:
        if chosen.source is not None:
            results, folder = json.loads(chosen.source.read_text(encoding="utf-8")), chosen.source.parent
        else:
            results = run(chosen)
            folder = RESULTS / time.strftime("%Y-%m-%d_%H%M%S")
            folder.mkdir(parents=True)
            (folder / "results.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    except KeyboardInterrupt:
        say("interrupted; everything is stopped")
        return 130
    except (BenchFailed, TritonFailed) as error:
        say(f"failed: {error}")
        return 1
    (folder / "report.html").write_text(report.to_html(results), encoding="utf-8")
    if chosen.write_docs:
        write_docs(results)
    print_summary(results)
    say(f"results.json and report.html are in {folder}")
    return 0


def run(chosen: argparse.Namespace) -> dict[str, Any]:
    """
    Start everything, run the suites, stop everything.

    Args:
        chosen: The command line's choices.

    Returns:
        What results.json holds.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    names = [*(chosen.only or []), *(PEER_SUITES if chosen.peers else [])] or [*SUITES, *CALLER_SUITES]
    options = Options(
        rounds=chosen.rounds,
        repetitions=chosen.repetitions,
        warmup_s=1.5 if chosen.quick else 2.0,
        measure_s=chosen.seconds or (5.0 if chosen.quick else 10.0),
        starts=max(5, chosen.rounds),
        calm_timeout_s=chosen.calm_timeout_s,
    )
    environment = machine.describe()
    suites = []
    with tempfile.TemporaryDirectory(prefix="triton-facade-export-") as folder:
        exported: Path = chosen.repository or Path(folder) / "repository"
        if chosen.repository is None:
            say("exporting the model")
            export_model(exported)
        for name in names:
            variants = VARIANTS if name.startswith("tune-profile") else (PADDING,)
            # A stage for each suite: no suite measures what an earlier one left behind.
            with Stage(exported, say, variants) as stage:
                say(f"{name}:")
                suite = ALL[name](stage, options, say)
            suites.append(asdict(suite))
    return {"environment": environment, "options": asdict(options), "suites": suites}


def write_docs(results: dict[str, Any]) -> None:
    """
    Put the tables into docs/benchmarks.md: searches for defaults have a section of their own.

    Args:
        results: What results.json holds.
    """
    text = DOCS.read_text(encoding="utf-8")
    for section, wanted in SECTIONS.items():
        suites = [suite for suite in results["suites"] if suite["name"] in wanted]
        if suites:
            text = report.replace_between(text, section, report.to_markdown({**results, "suites": suites}))
    DOCS.write_text(text, encoding="utf-8")
    say(f"wrote {DOCS}")


def print_summary(results: dict[str, Any]) -> None:
    """
    Say which goals were reached.

    Args:
        results: What results.json holds.
    """
    for suite in results["suites"]:
        for what, bound, figure, verdict in report.goal_rows(suite):
            say(f"{verdict:8} {what}: {figure}, goal {bound}")


def say(line: str) -> None:
    """
    Write a line of progress.

    Args:
        line: Without a newline.
    """
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _interrupt(_signum: int, _frame: object) -> NoReturn:
    # A second Ctrl-C would cut the cleaning up short.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
