"""`triton-facade doctor`: says in words what is wrong, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import click

from facade.commands.exit_codes import EXIT_CODES
from facade.terminal.program import command

if TYPE_CHECKING:
    from facade.doctor.finding import Finding, Section

EXIT_PROBLEM = 1
"""A problem was found."""

DEFAULT_REPOSITORY = Path("model_repository")

_MARKS = {
    "ok": ("ok", "green"),
    "warning": ("warning", "yellow"),
    "problem": ("PROBLEM", "red"),
    "skipped": ("-", None),
}
_MARK_WIDTH = 8
_WIDEST = 120


@command(
    examples=("triton-facade doctor", "triton-facade doctor --facade-url http://127.0.0.1:8080 --json"),
    exit_codes=EXIT_CODES["doctor"],
)
@click.option(
    "--repository",
    type=click.Path(path_type=Path),
    help="The model repository.  [default: ./model_repository if there]",
)
@click.option("--triton-url", metavar="HOST:PORT", help="As for `serve`.  [env: FACADE_TRITON_URL]")
@click.option(
    "--facade-url",
    metavar="URL",
    help="A façade that runs, such as http://127.0.0.1:8080; asked without a key.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="Seconds for each step over the network.",
)
@click.option("--deep", is_flag=True, help="Hash the repository's files, which reads all of them.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def doctor(
    repository: Path | None,
    triton_url: str | None,
    facade_url: str | None,
    timeout_s: float,
    *,
    deep: bool,
    as_json: bool,
) -> None:
    """
    Look for what is wrong with a set-up, and say what to do.

    Checks machine, settings, repository, Triton, Redis, keys and clocks. Reads the same FACADE_* environment as
    `serve`, changes nothing, and prints no secret. Run it where the façade runs, as its user.
    """
    from facade.doctor.examine import Questions, count, examine  # noqa: PLC0415  # so that --help answers at once

    if repository is None and DEFAULT_REPOSITORY.is_dir():
        repository = DEFAULT_REPOSITORY
    asked = Questions(
        chosen={} if triton_url is None else {"triton_url": triton_url},
        variables=os.environ,
        repository=repository,
        facade_url=facade_url,
        timeout_s=timeout_s,
        is_deep=deep,
    )
    sections = asyncio.run(examine(asked))
    counts = count(sections)
    if as_json:
        findings = [finding for section in sections for finding in section.to_json()]
        click.echo(
            json.dumps(
                {"ok": counts["problem"] == 0, "counts": counts, "findings": findings}, ensure_ascii=False
            )
        )
    else:
        write_report(sections)
        click.echo(summarise(counts))
    if counts["problem"]:
        sys.exit(EXIT_PROBLEM)


def write_report(sections: list[Section]) -> None:
    """
    Print the findings, a group a subject.

    Args:
        sections: All of them.
    """
    width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST)
    for section in sections:
        click.secho(section.subject, bold=True)
        longest = min(max((len(finding.check) for finding in section.findings), default=0), 24)
        for finding in section.findings:
            _write_finding(finding, longest, width)


def _write_finding(finding: Finding, longest: int, width: int) -> None:
    word, colour = _MARKS[finding.status]
    indent = " " * (2 + _MARK_WIDTH + longest + 2)
    head = f"{finding.check.ljust(longest)}  "
    if len(finding.check) > longest:
        head = f"{finding.check}: "
    lines = textwrap.wrap(
        head + finding.found,
        width - 2 - _MARK_WIDTH,
        subsequent_indent=" " * (longest + 2),
        drop_whitespace=True,
        break_long_words=False,
        break_on_hyphens=False,
    )
    for number, line in enumerate(lines):
        mark = click.style(word.ljust(_MARK_WIDTH), fg=colour) if number == 0 else " " * _MARK_WIDTH
        click.echo(f"  {mark}{line}".rstrip())
    if finding.remedy:
        for line in textwrap.wrap(
            f"→ {finding.remedy}",
            width,
            initial_indent=indent,
            subsequent_indent=f"{indent}  ",
            break_long_words=False,
            break_on_hyphens=False,
        ):
            click.echo(line)


def summarise(counts: dict[str, int]) -> str:
    """
    Say the result in a line.

    Args:
        counts: Findings by status.

    Returns:
        The last line of the report.
    """
    problems, warnings = counts["problem"], counts["warning"]
    said = {0: "Nothing is wrong", 1: "1 problem"}.get(problems, f"{problems} problems")
    if warnings:
        said += f", {warnings} {'warning' if warnings == 1 else 'warnings'}"
    looked = problems + warnings + counts["ok"]
    return f"{said}; {looked} things looked at, {counts['skipped']} skipped."
