"""Compare a published version with the original once more: the files that are served with their source."""

from pathlib import Path
from typing import Any

from export import from_hub
from export.artifacts import Draft, Graph, ParityReport, TensorSpec
from export.errors import BadInput, FilesChanged
from export.manifest import read_manifest
from export.options import ExportOptions
from export.pipeline import require_extra
from export.release_moves import check_version, find_model
from export.transition import CORE_CONFIG, read_kept

_DATATYPES = {"STRING": "BYTES"}
"""Where a config spells a datatype otherwise than KServe does."""


def compare_again(
    repository: Path, name: str, version: int, model: str | None, *, trust_remote_code: bool = False
) -> ParityReport:
    """
    Compare a version as it is on disk with the original.

    Args:
        repository: The model repository.

        name: The model's name.

        version: The version.

        model: The original, a folder or hub id; the same that was exported.

        trust_remote_code: True lets its own Python code run.

    Returns:
        The figures, all within the table's tolerance.

    Raises:
        BadInput: If no original is given, or it isn't the one that was exported.

        ExtraMissing: If the packages that convert models aren't installed.

        FilesChanged: If the version has no manifest that can be read.

        ModelNotFound: If there is no such model or version, or the original isn't there.

        ParityFailed: If the version's answers are not the original's.
    """
    folders = find_model(repository, name)
    check_version(folders, version)
    door, core = folders.door / str(version), folders.core / str(version)
    manifest = read_manifest(door)
    if manifest is None:
        raise FilesChanged(f"Version {version} of '{name}' has no manifest that can be read.")
    recipe = manifest["recipe"]
    if model is None:
        raise BadInput(
            f"--parity needs the original: --model with the folder or hub id of {recipe['model_id']}, as exported."
        )
    require_extra()
    options = ExportOptions(
        model=model,
        name=name,
        repository=repository,
        task=recipe["task"],
        target=recipe["target"],
        engine=recipe["engine"],
        precision=manifest["graph"]["precision"],
        revision=None if Path(model).is_dir() else recipe["revision"],
        model_id=recipe["model_id"] if Path(model).is_dir() else None,
        trust_remote_code=trust_remote_code,
    )
    source = from_hub.find_model(options)
    if source.fingerprint != recipe["source_fingerprint"]:
        raise BadInput(
            f"{model} isn't what version {version} of '{name}' was exported from: its files differ. "
            "Give the same folder, or the hub id and its revision."
        )
    # Imported here because torch takes seconds, and a wrong command has been answered by now.
    from export.tasks import load_task  # noqa: PLC0415

    has_core = (door / CORE_CONFIG).exists()
    graph = _read_graph(manifest, door, core if has_core else door)
    draft = Draft(door, core if has_core else None, graph)
    return load_task(source.task, options).compare(source, draft, graph.precision)


def _read_graph(manifest: dict[str, Any], door: Path, graph_home: Path) -> Graph:
    """Describe the graph that is on disk, as the conversion once did."""
    files = sorted(graph_home.glob("*.onnx"))
    if not files:
        raise BadInput(
            f"{graph_home} holds no ONNX graph; only such a version can be compared on this machine."
        )
    inputs = read_inputs(door)
    facts = manifest["graph"]
    return Graph(files[0], inputs, facts["output"], facts["width"], facts["opset"], facts["precision"])


def read_inputs(door: Path) -> tuple[TensorSpec, ...]:
    """
    Read what a version's core takes.

    Args:
        door: The door's version folder.

    Returns:
        The inputs without the batch; none if it has no core.

    Raises:
        RepositoryError: If its config can't be read.
    """
    config = read_kept(door / CORE_CONFIG)
    if config is None:
        return ()
    field = config.DESCRIPTOR.fields_by_name["input"].message_type.fields_by_name["data_type"]
    words = {value.number: value.name.removeprefix("TYPE_") for value in field.enum_type.values}
    return tuple(
        TensorSpec(spec.name, _DATATYPES.get(words[spec.data_type], words[spec.data_type]), tuple(spec.dims))
        for spec in config.input
    )
