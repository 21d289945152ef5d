"""
Tokens a second of the bare engine beside others: ``python -m tests.load.decoder.bench``.

All contenders have the same random weights, 16-token prompts, 64 new tokens and two threads. They take turns, round
after round; ratios are taken within a round and their median is told, with the least and the most.
Results go to ``bench-results/<date>/decoder.json``, the table to stdout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from tests.load import machine
from tests.load.decoder import llama_cpp, models
from tests.load.decoder.contenders import CONTENDERS
from tests.load.rounds import Round, ratio_of, spread_of

if TYPE_CHECKING:
    from collections.abc import Sequence

CONCURRENCIES = (1, 8, 32)


@dataclass(frozen=True)
class Goal:
    """A ratio to reach."""

    above: str
    """The contender that should be faster."""

    below: str
    """The one that it is compared with."""

    concurrency: int
    """Requests at a time."""

    least: float
    """The ratio of tokens a second."""


GOALS = (
    Goal("ours fp32", "transformers", 32, 8.0),
    Goal("ours fp32", "genai fp32", 32, 1.0),
    Goal("ours int8", "genai int8", 32, 1.0),
    Goal("ours fp32", "llama.cpp f32", 8, 1.05),
    Goal("ours fp32", "llama.cpp f32", 32, 1.05),
    Goal("ours int8", "llama.cpp q8_0", 8, 1.0),
    Goal("ours int8", "llama.cpp q8_0", 32, 1.0),
    Goal("ours int8-dynamic", "llama.cpp q8_0", 8, 1.0),
    Goal("ours int8-dynamic", "llama.cpp q8_0", 32, 1.0),
)
"""What the engine is held to."""


class Worker:
    """A contender in its own process, which waits while it isn't its turn."""

    def __init__(self, name: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.decoder.contenders", name],
            cwd=machine.CHECKOUT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def measure(self, requests: int) -> dict[str, Any]:
        """Let it answer so many requests; return its figures."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{requests}\n")
        self._process.stdin.flush()
        return dict(json.loads(self._read()))

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The contender's process ended; what it said is above.")
        return line


def run(names: Sequence[str], rounds: int) -> dict[int, list[Round]]:
    """
    Measure contenders in turn.

    Args:
        names: Who.

        rounds: How often.

    Returns:
        Rounds by concurrency.
    """
    found: dict[int, list[Round]] = {concurrency: [] for concurrency in CONCURRENCIES}
    with ExitStack() as stack:
        workers = {
            name: stack.enter_context(Worker(name)) for name in names if not name.startswith("llama.cpp")
        }
        for worker in workers.values():
            worker.measure(2)  # first calls make buffers
        for number in range(rounds):
            for concurrency in CONCURRENCIES:
                one: Round = {}
                # Every other round backwards, so that nobody always follows the same neighbour.
                for name in names if number % 2 == 0 else list(reversed(names)):
                    busy_s, started = machine.busy_cpu_s(), time.monotonic()
                    if name in workers:
                        one[name] = workers[name].measure(concurrency)
                    else:
                        one[name] = llama_cpp.measure(name.removeprefix("llama.cpp "), concurrency)
                    elapsed_s = (time.monotonic() - started) * machine.cores()
                    one[name]["busy_share"] = (machine.busy_cpu_s() - busy_s) / elapsed_s
                    say(
                        f"round {number + 1}, {concurrency} at a time, {name}: {one[name]['tokens_per_s']:.0f}/s"
                    )
                found[concurrency].append(one)
    return found


def render(found: dict[int, list[Round]], names: Sequence[str]) -> str:
    """
    Write the tables.

    Args:
        found: Rounds by concurrency.

        names: Contenders.

    Returns:
        Markdown.
    """
    lines = [
        "| tokens/s, median (least to most) | " + " | ".join(f"{it} at a time" for it in found) + " |",
        "| --- |" + " --- |" * len(found),
    ]
    for name in names:
        cells = []
        for rounds in found.values():
            spread = spread_of([one[name]["tokens_per_s"] for one in rounds])
            cells.append(f"{spread.median:.0f} ({spread.least:.0f} to {spread.most:.0f})")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "| goal | ratio, median (least to most) | reached |", "| --- | --- | --- |"]
    for goal in GOALS:
        if goal.above not in names or goal.below not in names:
            continue
        ratio = ratio_of(found[goal.concurrency], goal.above, goal.below, "tokens_per_s")
        lines.append(
            f"| {goal.above} at least {goal.least:g} x {goal.below}, {goal.concurrency} at a time | "
            f"{ratio.median:.2f} ({ratio.least:.2f} to {ratio.most:.2f}) | "
            f"{'yes' if ratio.median >= goal.least else 'no'} |"
        )
    return "\n".join(lines) + "\n"


def say(line: str) -> None:
    """Tell progress."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - a command line


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure and tell.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code: 0, whether or not goals were reached.
    """
    every = [*CONTENDERS, *(f"llama.cpp {it}" for it in llama_cpp.FORMATS)]
    parser = argparse.ArgumentParser(prog="python -m tests.load.decoder.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--only", action="append", choices=every, help="this contender; may be given again")
    chosen = parser.parse_args(arguments)
    names: list[str] = chosen.only or every
    if not llama_cpp.is_ready():
        say("llama.cpp is left out; python -m tests.load.decoder.llama_cpp builds it.")
        names = [name for name in names if not name.startswith("llama.cpp")]
    models.make_original()
    for precision in models.PRECISIONS:
        models.make_graph(precision)
    found = run(names, chosen.rounds)
    described = machine.describe()
    folder = machine.CHECKOUT / "bench-results" / described["date"].replace(":", "")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "decoder.json").write_text(
        json.dumps({"machine": described, "rounds": found}, indent=2), encoding="utf-8"
    )
    print(render(found, names))  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
