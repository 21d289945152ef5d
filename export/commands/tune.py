"""`triton-export tune`: the settings with which a model answers the most within a target of its latency."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from export.commands.shared import (
    errors_to_exit_codes,
    exit_codes,
    json_option,
    name_argument,
    repository_option,
    triton_option,
)
from export.following import read_address
from export.progress import Progress
from facade.terminal.program import command

if TYPE_CHECKING:
    from export.tune import Tuned

LEAST_BUDGET_S = 20.0
"""Seconds below which hardly a candidate would be measured."""


@command(
    short_help="Search better settings, and publish them as a new version.",
    headings={
        "Search": ("p99_ms", "traffic", "budget_s", "tritonserver", "seed"),
        "Result": ("candidate", "tritons", "repository", "as_json"),
    },
    examples=("triton-export tune minilm --p99-ms 50 --budget-s 120",),
    exit_codes=exit_codes(3, 5, 7, 9, 10),
)
@name_argument
@click.option(
    "--p99-ms",
    metavar="MS",
    type=click.FloatRange(min=0, min_open=True),
    required=True,
    help="Target: 99 of 100 answers within so many milliseconds.",
)
@click.option(
    "--traffic",
    type=click.Path(path_type=Path),
    help="Recorded requests, a JSON object a line.  [default: made ones of log-normal length]",
)
@click.option(
    "--budget-s",
    metavar="SECONDS",
    type=click.FloatRange(min=LEAST_BUDGET_S),
    default=300.0,
    show_default=True,
    help="Seconds for the search, the server's start not counted.",
)
@click.option(
    "--tritonserver",
    metavar="COMMAND",
    help="How to start a Triton.  [default: tritonserver on the PATH, else this checkout's]",
)
@click.option(
    "--seed", metavar="N", type=int, default=0, show_default=True, help="Of the sample and of made traffic."
)
@click.option("--candidate", is_flag=True, help="Only put the new version on disk, for a later `canary`.")
@triton_option
@repository_option
@json_option
def tune(  # noqa: PLR0917 - click passes every option by name
    name: str,
    p99_ms: float,
    traffic: Path | None,
    budget_s: float,
    tritonserver: str | None,
    seed: int,
    candidate: bool,  # noqa: FBT001 - click passes flags by name
    tritons: tuple[str, ...],
    repository: Path,
    as_json: bool,  # noqa: FBT001
) -> None:
    """
    Search better settings for model NAME on this machine, and publish them as a new version.

    The graph stays as it is. Nothing is published unless the new settings win every round against the present ones.
    With --candidate or --triton the largest batch stays as it is: versions served side by side must have it alike.
    Progress goes to stderr.
    """
    with errors_to_exit_codes():
        # Imported here because it brings protobuf and gRPC.
        from export.tune import TuneOptions, run_tune  # noqa: PLC0415

        options = TuneOptions(
            name=name,
            p99_ms=p99_ms,
            repository=repository,
            traffic=traffic,
            budget_s=budget_s,
            tritonserver=tritonserver,
            seed=seed,
            candidate=candidate,
            tritons=tuple(read_address(url) for url in tritons),
        )
        tuned = run_tune(options, Progress(sys.stderr))
    click.echo(json.dumps({"name": name, **asdict(tuned)}) if as_json else _say(name, tuned))


def _say(name: str, tuned: "Tuned") -> str:
    """Sum up in a line or two."""
    before = f"{tuned.before.items_per_s:.0f} items/s, p99 {tuned.before.p99_ms:.1f} ms"
    if tuned.version is None:
        return f"Found nothing clearly better for {name} ({before}). Nothing was published."
    changes = ", ".join(f"{setting} {old} -> {new}" for setting, (old, new) in sorted(tuned.changed.items()))
    return (
        f"Published {name} version {tuned.version}, {tuned.ratio:.2f} times as fast: {before} became "
        f"{tuned.after.items_per_s:.0f} items/s, p99 {tuned.after.p99_ms:.1f} ms.\nChanged: {changes}"
    )
