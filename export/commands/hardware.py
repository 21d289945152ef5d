"""`targets` and `build-plan`: what hardware there is, and a plan for one more kind of GPU."""

import json
import sys
from pathlib import Path

import click

from export.commands.shared import (
    errors_to_exit_codes,
    exit_codes,
    json_option,
    name_argument,
    offer,
    repository_option,
)
from export.progress import Progress
from export.targets import TARGETS, Target, find_target
from facade.terminal.program import command


@command("targets", short_help="List the hardware that models can be exported for.", exit_codes=exit_codes())
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, with reasons and sources.")
def targets_command(as_json: bool) -> None:  # noqa: FBT001 - click passes flags by name
    """List the hardware that models can be exported for, and what each can do."""
    if as_json:
        click.echo(json.dumps([target.to_json() for target in TARGETS.values()], indent=2))
        return
    click.echo(
        f"{'target':14} {'hardware':18} {'CC':>4} {'GB':>4}  {'precisions':15} {'vLLM':5} "
        "Triton's image (with TensorRT)"
    )
    for target in TARGETS.values():
        click.echo(_row(target))
    click.echo(
        "\nGPUs are not run by this project's tests. Why a precision is missing: --json, or ask for it."
    )


@command(
    "build-plan",
    short_help="Build a TensorRT plan for this machine's GPU.",
    examples=("triton-export build-plan minilm --target a100",),
    exit_codes=exit_codes(3, 5, 6, 7, 8, 10),
)
@name_argument
@click.option(
    "--target",
    required=True,
    metavar="GPU",
    shell_complete=offer(TARGETS),
    help="The kind of GPU in this machine.",
)
@repository_option
@json_option
def build_plan(name: str, target: str, repository: Path, as_json: bool) -> None:  # noqa: FBT001
    """
    Build a TensorRT plan of model NAME for this machine's GPU, beside those of other GPUs.

    A Triton that runs already takes it with the next load of the model.
    """
    with errors_to_exit_codes():
        hardware = find_target(target)
        from export.plans import add_plan  # noqa: PLC0415 - protobuf takes a while

        added = add_plan(repository, name, hardware, Progress(sys.stderr))
    if as_json:
        click.echo(json.dumps({"name": added.name, "versions": list(added.versions), "file": added.file}))
    else:
        click.echo(f"Added {added.file} to {name} version {', '.join(map(str, added.versions))}")


def _row(target: Target) -> str:
    """Lay one target out in the columns of the heading."""
    software = target.software
    image = software.triton_image.rpartition(":")[2]
    if software.triton_tensorrt_image != software.triton_image:
        image += f" ({software.triton_tensorrt_image.rpartition(':')[2]})"
    note = f"  {', '.join(target.features)}" if not target.is_gpu else ""
    return (
        f"{target.name:14} {target.title:18} {target.compute_capability or '-':>4} {target.memory_gb or '-':>4}  "
        f"{','.join(target.precisions):15} {'yes' if target.runs_vllm else 'no':5} {image}{note}"
    )


COMMANDS = (targets_command, build_plan)
"""The commands of this module, for the group."""
