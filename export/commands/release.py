"""`list`, `show`, `canary`, `promote`, `rollback`, `prune`, `verify`, `diff`: a version after its export."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from export.commands.shared import (
    complete_version,
    errors_to_exit_codes,
    exit_codes,
    json_option,
    name_argument,
    repository_option,
    triton_option,
)
from export.following import connected, read_address
from export.progress import Progress, is_terminal
from facade.terminal.failures import write_warning
from facade.terminal.program import command

if TYPE_CHECKING:
    from export.release_moves import Moved
    from export.release_state import Release

_MIB = 2**20


@command("list", exit_codes=exit_codes(3, 5))
@repository_option
@json_option
def list_command(repository: Path, as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """List the models, and which of their versions answer."""
    with errors_to_exit_codes():
        from export.inspection import list_models  # noqa: PLC0415 - protobuf takes a while

        models = list_models(repository)
    if as_json:
        click.echo(json.dumps(models))
        return
    for model in models:
        if "error" in model:
            write_warning(model["error"])
            continue
        release = model["release"] or {}
        line = f"{model['name']}  {model['task']}  stable {release.get('stable')}"
        if "canary" in release:
            line += f"  canary {release['canary']} ({release['canary_percent']:g} %)"
        click.echo(f"{line}  on disk {', '.join(map(str, model['versions']))}")
    if not models:
        click.echo(f"No models in {repository}. `triton-export export` makes one.", err=True)


@command(
    short_help="Show a model's release and its versions on disk.",
    examples=("triton-export show minilm",),
    exit_codes=exit_codes(3, 5),
)
@name_argument
@repository_option
@json_option
def show(name: str, repository: Path, as_json: bool) -> None:  # noqa: FBT001
    """Show the release of model NAME and its versions on disk."""
    with errors_to_exit_codes():
        from export.inspection import show_model  # noqa: PLC0415

        release, versions = show_model(repository, name)
    rows = [facts.to_json() for facts in versions]
    if as_json:
        click.echo(json.dumps({"name": name, "release": release.to_json(), "versions": rows}))
        return
    click.echo(f"{name}: {_say(release)}")
    for row in rows:
        recipe = row["recipe"] or {}
        figures = " ".join(
            f"{key}={value:.6g}" for key, value in row["parity"].items() if isinstance(value, float)
        )
        click.echo(
            f"  {row['version']:>4}  {row['role']:<9}  {row['bytes'] / _MIB:9.1f} MiB  {row['created_at'] or '?'}  "
            f"{recipe.get('precision', '?')} {recipe.get('engine', '?')} {recipe.get('target', '?')}  {figures}"
        )


@command(
    short_help="Put a version of a model on trial.",
    examples=("triton-export canary minilm 2 --percent 5 --triton grpc://127.0.0.1:8001",),
    exit_codes=exit_codes(3, 5, 9),
)
@name_argument
@click.argument("version", type=int, shell_complete=complete_version)
@click.option(
    "--percent", metavar="SHARE", type=float, required=True, help="Share of callers that get it, 0 to 100."
)
@repository_option
@triton_option
@json_option
def canary(  # noqa: PLR0917 - click passes every option by name
    name: str,
    version: int,
    percent: float,
    repository: Path,
    tritons: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """
    Put VERSION of model NAME on trial.

    Each caller gets the same version at every request; raising the share only adds callers. A version that is on
    trial already gets the new share.
    """
    from export.release_moves import start_canary  # noqa: PLC0415

    with errors_to_exit_codes(), connected([read_address(url) for url in tritons]) as follower:
        _report(start_canary(repository, name, version, percent, follower), as_json=as_json)


@command(
    short_help="Make a model's canary its stable version.",
    examples=("triton-export promote minilm --triton grpc://127.0.0.1:8001",),
    exit_codes=exit_codes(3, 5, 9),
)
@name_argument
@repository_option
@triton_option
@json_option
def promote(
    name: str,
    repository: Path,
    tritons: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """Make the canary of model NAME its stable version; without a canary nothing changes."""
    from export.release_moves import promote as do_promote  # noqa: PLC0415

    with errors_to_exit_codes(), connected([read_address(url) for url in tritons]) as follower:
        _report(do_promote(repository, name, follower), as_json=as_json)


@command(
    short_help="Drop a model's canary, or go back a version.",
    examples=("triton-export rollback minilm --triton grpc://127.0.0.1:8001",),
    exit_codes=exit_codes(3, 5, 9),
)
@name_argument
@click.option("--to", type=int, help="Stable version to return to.  [default: take back the last move, once]")
@repository_option
@triton_option
@json_option
def rollback(
    name: str,
    to: int | None,
    repository: Path,
    tritons: tuple[str, ...],
    as_json: bool,  # noqa: FBT001
) -> None:
    """
    Drop the canary of model NAME, or else return to the version that was stable before.

    Run again it changes nothing, so that two people who do it at once go one step back and not two; --to goes further.
    """
    from export.release_moves import rollback as do_rollback  # noqa: PLC0415

    with errors_to_exit_codes(), connected([read_address(url) for url in tritons]) as follower:
        moved = do_rollback(repository, name, to, follower)
        _report(moved, as_json=as_json)
    if to is None and not moved.is_new and moved.after.previous and not as_json:
        click.echo(f"The last move was a rollback already; to go further: --to {moved.after.previous[0]}")


@command(
    short_help="Remove a model's old versions from the disk.",
    examples=("triton-export prune minilm --keep 2",),
    exit_codes=exit_codes(3, 5),
)
@name_argument
@click.option("--keep", type=int, default=3, show_default=True, help="Stable versions to keep on disk.")
@repository_option
@json_option
def prune(name: str, keep: int, repository: Path, as_json: bool) -> None:  # noqa: FBT001
    """
    Remove old versions of model NAME from the disk.

    The canary and everything newer than stable stays.
    """
    from export.release_moves import prune as do_prune  # noqa: PLC0415

    with errors_to_exit_codes():
        removed = do_prune(repository, name, keep)
    if as_json:
        click.echo(json.dumps({"name": name, "removed": removed}))
    else:
        click.echo(f"Removed: {', '.join(map(str, removed)) or 'nothing'}")


@command(
    short_help="Check that a model's files are as they were exported.",
    examples=("triton-export verify minilm",),
    exit_codes=exit_codes(3, 4, 5, 7, 10),
)
@name_argument
@click.argument("version", type=int, shell_complete=complete_version, required=False)
@click.option(
    "--parity", is_flag=True, help="Compare with the original again, too; needs --model and the export extra."
)
@click.option("--model", help="The original: a folder or hub id, the same that was exported.")
@click.option(
    "--trust-remote-code", is_flag=True, help="Let the original's own Python code run on this machine."
)
@repository_option
@json_option
def verify(  # noqa: PLR0917
    name: str,
    version: int | None,
    parity: bool,  # noqa: FBT001
    model: str | None,
    trust_remote_code: bool,  # noqa: FBT001
    repository: Path,
    as_json: bool,  # noqa: FBT001
) -> None:
    """
    Check that the files of model NAME are those that were exported: of VERSION, or of all on disk.

    Compares SHA-256 of each file with the version's manifest.
    """
    with errors_to_exit_codes():
        from export.inspection import check_files, show_model  # noqa: PLC0415

        # Worth a line where somebody watches it: a script reads the results.
        progress = Progress(sys.stderr if is_terminal(sys.stderr) else None)
        versions = [version] if version is not None else [f.version for f in show_model(repository, name)[1]]
        results = []
        for number in versions:
            with progress.step(f"Hashing version {number}") as step:
                result: dict[str, Any] = {
                    "version": number,
                    "files": check_files(repository, name, number, step),
                }
            if parity:
                from export.recheck import compare_again  # noqa: PLC0415 - torch takes seconds

                report = compare_again(repository, name, number, model, trust_remote_code=trust_remote_code)
                result["parity"] = report.figures
            results.append(result)
            if not as_json:
                figures = "".join(f", {key} {value:.7g}" for key, value in result.get("parity", {}).items())
                click.echo(f"Version {number}: {result['files']} files as exported{figures}")
    if as_json:
        click.echo(json.dumps({"name": name, "versions": results}))


@command(
    short_help="Show in what two versions of a model differ.",
    examples=("triton-export diff minilm 1 2",),
    exit_codes=exit_codes(3, 5),
)
@name_argument
@click.argument("one", type=int, shell_complete=complete_version)
@click.argument("other", type=int, shell_complete=complete_version)
@repository_option
@json_option
def diff(name: str, one: int, other: int, repository: Path, as_json: bool) -> None:  # noqa: FBT001
    """Show in what versions ONE and OTHER of model NAME differ: recipe, tools, figures, configs, sizes, files."""
    with errors_to_exit_codes():
        from export.inspection import compare_versions  # noqa: PLC0415

        differences = compare_versions(repository, name, one, other)
    if as_json:
        click.echo(json.dumps({key: {str(one): a, str(other): b} for key, (a, b) in differences.items()}))
        return
    for key, (left, right) in differences.items():
        click.echo(f"{key}: {_short(left)} -> {_short(right)}")
    if not differences:
        click.echo("No difference.")


COMMANDS = (list_command, show, canary, promote, rollback, prune, verify, diff)
"""All of them, for the group."""


def _report(moved: "Moved", *, as_json: bool) -> None:
    if moved.undone:
        edits = ", ".join(moved.undone)
        write_warning(
            f"Edited by hand, and now again as it was exported: {edits}. Settings belong into an export."
        )
    if as_json:
        result = {"name": moved.name, "is_new": moved.is_new, "release": moved.after.to_json()}
        click.echo(json.dumps(result | {"before": moved.before.to_json()}))
    else:
        click.echo(f"{moved.name}: {_say(moved.after)}{'' if moved.is_new else ' (nothing changed)'}")


def _say(release: "Release") -> str:
    """Write a release in a line."""
    said = f"stable {release.stable}"
    if release.canary is not None:
        said += f", canary {release.canary} for {release.canary_percent:g} % of the callers"
    if release.previous:
        said += f", before: {', '.join(map(str, release.previous))}"
    return said


def _short(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."  # noqa: PLR2004 - what fits twice into a line
