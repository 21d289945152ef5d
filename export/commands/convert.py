"""`triton-export export`: a model becomes a new version."""

import json
import sys
from pathlib import Path

import click

from export import options as asked
from export.commands.generation import generation_options
from export.commands.shared import (
    errors_to_exit_codes,
    exit_codes,
    json_option,
    offer,
    repository_option,
    triton_option,
)
from export.following import read_address
from export.progress import Progress
from export.targets import ACCELERATORS, AUTO, ENGINES, GENERATOR_PRECISIONS, PRECISIONS, TARGETS
from facade.terminal.program import command


@command(
    short_help="Turn a model into a new version in the repository.",
    headings={
        "Model": ("name", "task", "revision", "model_id", "trust_remote_code"),
        "Hardware": ("target", "precision", "engine", "accelerator"),
        "Generators": ("max_model_len", "tensor_parallel_size", "dtype", "lora", "served_path"),
        "Publishing": ("repository", "candidate", "tritons", "skip_existing", "dry_run", "as_json"),
    },
    examples=("triton-export export sentence-transformers/all-MiniLM-L6-v2 --name minilm",),
    exit_codes=exit_codes(3, 4, 5, 6, 7, 8, 9),
)
@click.argument("model")
@click.option("--name", required=True, metavar="NAME", help="Name of the model in Triton and in the API.")
@click.option(
    "--task",
    metavar="TASK",
    shell_complete=offer(asked.TASKS),
    help=f"{', '.join(asked.TASKS)}.  [default: found]",
)
@click.option("--revision", metavar="REV", help="Branch, tag or commit on the hub.")
@click.option("--model-id", metavar="ID", help="What to record for a folder.  [default: its name]")
@click.option(
    "--trust-remote-code", is_flag=True, help="Let the model's own Python code run on this machine."
)
@click.option(
    "--target",
    metavar="TARGET",
    shell_complete=offer(TARGETS),
    default="cpu",
    show_default=True,
    help="Hardware; see `triton-export targets`.",
)
@click.option(
    "--precision",
    metavar="FORMAT",
    shell_complete=offer((AUTO, *PRECISIONS, *GENERATOR_PRECISIONS)),
    default="fp32",
    show_default=True,
    help=f"Of the weights: {', '.join(PRECISIONS)}, for generators also {', '.join(GENERATOR_PRECISIONS)}, or auto: "
    "the fastest that passes parity.",
)
@click.option(
    "--engine",
    metavar="ENGINE",
    shell_complete=offer(ENGINES),
    default=ENGINES[0],
    show_default=True,
    help=f"{', '.join(ENGINES)}.",
)
@click.option(
    "--accelerator",
    metavar="KIND",
    type=click.Choice(ACCELERATORS),
    default=ACCELERATORS[0],
    show_default=True,
    help="For onnxruntime on a GPU: tensorrt.",
)
@generation_options
@repository_option
@click.option("--candidate", is_flag=True, help="Only put it on disk, for a later `canary`.")
@triton_option
@click.option("--skip-existing", is_flag=True, help="Do nothing if stable was made the same way.")
@click.option("--dry-run", is_flag=True, help="Print what would be written, and write nothing.")
@json_option
def export(  # noqa: PLR0917 - click passes every option by name
    model: str,
    name: str,
    task: str | None,
    target: str,
    engine: str,
    accelerator: str,
    precision: str,
    repository: Path,
    revision: str | None,
    model_id: str | None,
    trust_remote_code: bool,  # noqa: FBT001 - click passes flags by name
    generation: asked.GenerationOptions,
    candidate: bool,  # noqa: FBT001
    tritons: tuple[str, ...],
    skip_existing: bool,  # noqa: FBT001
    dry_run: bool,  # noqa: FBT001
    as_json: bool,  # noqa: FBT001
) -> None:
    """
    Export MODEL, a folder or a hub id, as a new stable version. Nothing is published unless it answers like the
    original. Progress goes to stderr.
    """
    with errors_to_exit_codes():
        addresses = tuple(read_address(url) for url in tritons)
    wanted = asked.ExportOptions(
        model=model,
        name=name,
        repository=repository,
        task=task,
        target=target,
        engine=engine,
        accelerator=accelerator,
        precision=precision,
        revision=revision,
        model_id=model_id,
        trust_remote_code=trust_remote_code,
        generation=generation,
        candidate=candidate,
        tritons=addresses,
        skip_existing=skip_existing,
    )
    progress = Progress(sys.stderr)
    with errors_to_exit_codes():
        asked.check_options(wanted)
        if dry_run:
            _print_preview(wanted, as_json=as_json)
            return
        # Imported here because it brings protobuf, gRPC and the hub client.
        from export import pipeline  # noqa: PLC0415

        publication = pipeline.run_export(wanted, progress)
    summary = {
        "name": publication.name,
        "version": publication.version,
        "repository": str(publication.repository),
        "is_new": publication.is_new,
        "is_stable": publication.is_stable,
        "parity": {name: value for name, value in publication.manifest["parity"].items() if name != "points"},
        "seconds": {step: round(seconds, 2) for step, seconds in progress.seconds.items()},
    }
    if as_json:
        click.echo(json.dumps(summary))
    elif publication.is_new:
        role = "" if publication.is_stable else " as a candidate"
        click.echo(f"Published {name} version {publication.version} to {repository}{role}")


def _print_preview(wanted: asked.ExportOptions, *, as_json: bool) -> None:
    """Print what an export would write."""
    from export import dry_run, from_hub, targets  # noqa: PLC0415 - as above, and the task's own imports

    source = from_hub.find_model(wanted)
    targets.check_task_fits(source.task, wanted.engine, wanted.precision)
    shown = dry_run.preview(wanted, source)
    click.echo(json.dumps(dry_run.to_json(shown)) if as_json else dry_run.write_markdown(shown), nl=as_json)
