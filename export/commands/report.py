"""`report`: one version as a page to attach to a deploy ticket."""

import json
import sys
from pathlib import Path

import click

from export.commands.release import json_option, repository_option
from export.commands.shared import EPILOG, errors_to_exit_codes
from export.progress import Progress


@click.command(epilog=EPILOG)
@click.argument("name")
@click.argument("version", type=int, required=False)
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
