"""
From the raw fp32 graph to the number formats that a target can run, and the choice among them.

    wanted       which precisions are tried: the one asked for, or with `auto` all that the target has
    make         one of them as a graph, with a twin that a CPU can run if it can't run the graph itself
    choose       the fastest of those that passed parity, unless it gains too little over a more exact one
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from export.artifacts import Graph, Speed, Trial
from export.half_precision import to_bf16, to_fp16
from export.quantize import to_int8
from export.targets import AUTO, Target

LEAST_GAIN = 1.1
"""How much faster a less exact graph has to be to be chosen: timings on a busy machine differ by less than this."""

EXACTNESS = ("fp32", "bf16", "fp16", "int8")
"""Precisions from the one that changes a model least to the one that changes it most, as a tie is decided."""

MADE_BY_TASK = frozenset({"text-generation"})
"""Tasks whose own conversion makes the precision: their graphs are built in it, not transformed."""


@dataclass(frozen=True)
class Candidate:
    """The model in one precision."""

    graph: Graph
    """What would be published, alone in its folder."""

    stand_in: Graph
    """What a CPU runs for the comparison: the graph, or its twin of the same values."""


def wanted(target: Target, asked: str, raw: Graph, task: str) -> tuple[str, ...]:
    """
    List the precisions to try.

    Args:
        target: The hardware.

        asked: What the command asks for.

        raw: The graph as the task converted it.

        task: The model's task.

    Returns:
        The precisions, the one expected to be fastest first.
    """
    if task in MADE_BY_TASK:
        return (raw.precision,)
    return target.precisions if asked == AUTO else (asked,)


def make(raw: Graph, precision: str, folder: Path) -> Candidate:
    """
    Make one candidate from the raw graph, which stays.

    Args:
        raw: The fp32 graph as it was traced.

        precision: The number format.

        folder: A new folder; the graph is alone in its subfolder `graph`.

    Returns:
        The candidate.

    Raises:
        ConversionFailed: If the graph can't be transformed.

        OSError: If it can't be written.
    """
    home = folder / "graph"
    if precision == raw.precision:
        # Linked and not copied: the weights may be gigabytes, and nobody writes into them.
        shutil.copytree(raw.path.parent, home, copy_function=os.link)
        graph = replace(raw, path=home / raw.path.name)
        return Candidate(graph, graph)
    home.mkdir(parents=True)
    path = home / raw.path.name
    graph = replace(raw, path=path, precision=precision)
    if precision == "int8":
        to_int8(raw.path, path)
    elif precision == "fp16":
        to_fp16(raw.path, path)
    else:
        to_bf16(raw.path, path)
        twin = folder / "twin" / raw.path.name
        twin.parent.mkdir()
        to_bf16(raw.path, twin, is_emulated=True)
        return Candidate(graph, replace(graph, path=twin))
    return Candidate(graph, graph)


def size_of(graph: Graph) -> int:
    """
    Add up a graph's files.

    Args:
        graph: A graph, alone in its folder.

    Returns:
        Bytes.
    """
    return sum(path.stat().st_size for path in graph.path.parent.iterdir())


def choose(passed: Sequence[str], speeds: Mapping[str, Speed]) -> tuple[str, str]:
    """
    Choose among the precisions that passed parity.

    Args:
        passed: The precisions, the one expected to be fastest first.

        speeds: How fast each ran; empty if they couldn't be measured here.

    Returns:
        The precision, and why in one sentence.
    """
    if len(passed) == 1:
        return passed[0], f"{passed[0]} is the only one to choose from."
    if not speeds:
        return passed[0], f"{passed[0]} is expected to be the fastest there; this machine can't measure it."
    chosen = min(passed, key=EXACTNESS.index)
    for precision in sorted(passed, key=EXACTNESS.index):
        if speeds[precision].rows_per_s >= LEAST_GAIN * speeds[chosen].rows_per_s:
            chosen = precision
    fastest = max(passed, key=lambda precision: speeds[precision].rows_per_s)
    if chosen == fastest:
        return chosen, f"{chosen} is the fastest that answers like the original."
    gain = speeds[fastest].rows_per_s / speeds[chosen].rows_per_s
    return chosen, f"{fastest} is only {gain:.2f} times as fast as {chosen}, which is more exact."


def table(trials: Sequence[Trial]) -> list[str]:
    """
    Lay the trials out for a terminal.

    Args:
        trials: What became of each candidate.

    Returns:
        Lines of equal columns, a heading first.
    """
    lines = [f"  {'precision':10} {'MB':>8} {'rows/s':>9}  {'least to most':>17}  parity"]
    for trial in trials:
        speed, spread = "-", "-"
        if trial.speed is not None:
            speed = f"{trial.speed.rows_per_s:.0f}"
            spread = f"{trial.speed.least_rows_per_s:.0f} to {trial.speed.most_rows_per_s:.0f}"
        figures = ", ".join(f"{name} {value:.5g}" for name, value in (trial.parity or {}).items())
        mark = "*" if trial.chosen else " "
        lines.append(
            f"{mark} {trial.precision:10} {trial.size_bytes / 1e6:8.1f} {speed:>9}  {spread:>17}  "
            f"{figures or trial.failure}"
        )
    return lines
