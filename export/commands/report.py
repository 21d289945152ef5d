"""`report`: one version as a page to attach to a deploy ticket."""

import json
import sys
from pathlib import Path

import click

from export.commands.shared import (
    complete_version,
    errors_to_exit_codes,
    exit_codes,
    json_option,
    name_argument,
    repository_option,
)
from export.progress import Progress
from facade.terminal.program import command


@command(
    short_help="Write a report on a version as one HTML page.",
    examples=("triton-export report minilm", "triton-export report minilm 2 --measure -o minilm.html"),
    exit_codes=exit_codes(3, 5, 7),
)
@name_argument
@click.argument("version", type=int, shell_complete=complete_version, required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, allow_dash=True),
    help="File to write; - is stdout.  [default: NAME-VERSION.html]",
)
@click.option(
    "--measure", is_flag=True, help="Time the version's graph, beside stable's, on this machine's CPU."
)
@repository_option
@json_option
def report(  # noqa: PLR0917 - click passes every option by name
    name: str,
    version: int | None,
    output: Path | None,
    measure: bool,  # noqa: FBT001
    repository: Path,
    as_json: bool,  # noqa: FBT001
) -> None:
    """
    Write a report on VERSION of model NAME (without it: of the stable one) as one HTML file that loads nothing.

    What was chosen and why, parity, speed by batch and length, sizes, tuned settings, and where it all comes from.
    """
    if as_json and output == Path("-"):
        raise click.UsageError("--json and '-o -' both write to stdout. Leave one of them out.")
    with errors_to_exit_codes():
        from export.report.facts import collect  # noqa: PLC0415 - protobuf takes a while
        from export.report.page import render, write_page  # noqa: PLC0415

        facts = collect(repository, name, version, is_measured=measure, progress=Progress(sys.stderr))
        page = render(facts)
        path = output or Path(f"{name}-{facts.version}.html")
        if path != Path("-"):
            write_page(path, page)
    if path == Path("-"):
        click.echo(page, nl=False)
    elif as_json:
        size_bytes = len(page.encode())
        click.echo(
            json.dumps({"name": name, "version": facts.version, "file": str(path), "bytes": size_bytes})
        )
    else:
        click.echo(f"Wrote {path}")
