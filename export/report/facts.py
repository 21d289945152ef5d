"""What the page tells of one version: read from the repository, and timed on this machine if that is asked for."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from export.artifacts import Speed, TensorSpec
from export.errors import BadInput, FilesChanged, GpuNeeded
from export.inspection import VersionFacts, check_files, show_model
from export.manifest import MANIFEST_FILE, read_manifest
from export.pipeline import require_extra
from export.progress import Progress
from export.recheck import read_inputs
from export.release_moves import check_version, find_model
from export.release_state import Release
from export.targets import cpu_features, find_target
from export.transition import CORE_CONFIG, DOOR_CONFIG, Folders, read_kept

SHAPES = tuple((rows, tokens) for rows in (1, 4, 16) for tokens in (16, 64, 128))
"""Rows and tokens that are timed: one text, a small group, and more than a door sends at once."""

ROUNDS = 3
"""Rounds that count: with the shapes about 20 s a version for a model of 20 million parameters on one core."""

_CARD_LEFT_OUT = ("chat_template",)
"""What would fill pages; its SHA-256 isn't needed, as it is in the config, which is hashed."""


@dataclass(frozen=True)
class ReportFacts:
    """Everything that the page tells."""

    name: str
    """The model's name."""

    version: int
    """The version."""

    release: Release
    """Which versions answer."""

    versions: tuple[VersionFacts, ...]
    """All versions on disk, the newest first."""

    manifest: Mapping[str, Any]
    """The version's provenance."""

    sizes_bytes: Mapping[str, int]
    """Size of each of its files, by path in the manifest's words."""

    changed: str | None
    """What is wrong with its files; None if they are what was exported."""

    configs: Mapping[str, str]
    """Its own configs as Triton reads them, by file name."""

    measured: Mapping[str, Speed] = field(default_factory=dict)
    """Speed by what was timed while the report was made; empty if nothing was."""

    measured_on: str = ""
    """The machine that it was timed on, in words."""


def collect(
    repository: Path,
    name: str,
    version: int | None = None,
    *,
    is_measured: bool = False,
    progress: Progress,
) -> ReportFacts:
    """
    Read everything about a version, and time it if asked.

    Args:
        repository: The model repository.

        name: The model's name.

        version: The version; None is the stable one.

        is_measured: True times the version's graph, and stable's beside it, on this machine's CPU.

        progress: Told about the long steps.

    Returns:
        The facts.

    Raises:
        BadInput: If it can't be a name, or has no graph that could be timed.

        ModelNotFound: If there is no such model or version.

        FilesChanged: If the version has no manifest that can be read.

        ExtraMissing: If it is to be timed, and the packages aren't installed.

        GpuNeeded: If it is to be timed and was made for a GPU.

        RepositoryError: If the model isn't ours, or can't be read.
    """
    release, versions = show_model(repository, name)
    folders = find_model(repository, name)
    version = release.stable if version is None else version
    check_version(folders, version)
    manifest = read_manifest(folders.door / str(version))
    if manifest is None:
        raise FilesChanged(
            f"{folders.door / str(version) / MANIFEST_FILE} is missing or can't be read, and a report is made "
            "from it. Restore the file from a backup, or export again."
        )
    measured: dict[str, Speed] = {}
    if is_measured:
        with refusing_strange_values(name, version):
            measured = _measure(folders, release, version, manifest, progress)
    changed = None
    with progress.step("Hashing the files") as step:
        try:
            check_files(repository, name, version, step)
        except FilesChanged as found:
            changed = str(found)
    return ReportFacts(
        name=name,
        version=version,
        release=release,
        versions=tuple(versions),
        manifest=_without(manifest),
        sizes_bytes=_sizes(folders, version, manifest),
        changed=changed,
        configs=_configs(folders, version),
        measured=measured,
        measured_on=_describe_machine() if measured else "",
    )


@contextmanager
def refusing_strange_values(name: str, version: int) -> Iterator[None]:
    """
    End in a sentence where a manifest was edited by hand: each key read would need a check of its own.

    Args:
        name: The model's name.

        version: The version that the manifest belongs to.

    Yields:
        Nothing; holds for the `with` statement.

    Raises:
        FilesChanged: If a value in it isn't of the kind that belongs there.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise FilesChanged(
            f"A value in {MANIFEST_FILE} of version {version} of '{name}' is missing or isn't of the kind that belongs "
            f"there ({type(error).__name__}: {error}). Restore the file from a backup, or export again."
        ) from error


def _measure(
    folders: Folders, release: Release, version: int, manifest: Mapping[str, Any], progress: Progress
) -> dict[str, Speed]:
    """Time the version, and stable's graph in turn with it if it is another one that takes the same inputs."""
    _check_measurable(folders, version, manifest)
    require_extra()
    from export import timing  # noqa: PLC0415 - onnxruntime takes a while, and most reports don't need it

    inputs = read_inputs(folders.door / str(version))
    graphs = {f"version {version}": _graph(folders, version)}
    stable = folders.door / str(release.stable)
    if version != release.stable and (stable / CORE_CONFIG).exists() and read_inputs(stable) == inputs:
        other = read_manifest(stable)
        if other is not None and not find_target(other["recipe"]["target"]).is_gpu:
            graphs[f"version {release.stable}, stable"] = _graph(folders, release.stable)
    max_tokens = int(manifest["card"].get("max_input_tokens") or 0)
    feeds = timing.make_feeds(inputs, max_tokens, _shapes(inputs, max_tokens))
    threads = max(1, int(manifest["recipe"]["profile"]["core_threads"]))
    with progress.step(f"Timing {', '.join(graphs)}"):
        return timing.measure_speeds(graphs, feeds, threads, ROUNDS)


def _check_measurable(folders: Folders, version: int, manifest: Mapping[str, Any]) -> None:
    """Refuse what this machine's CPU can't time, or not in a way that says anything."""
    recipe = manifest["recipe"]
    target = find_target(recipe["target"])
    if target.is_gpu:
        raise GpuNeeded(
            f"Version {version} of '{folders.name}' was made for {target.title}; what a CPU needs for it says nothing. "
            "Leave --measure out, and measure it on that GPU with Triton's perf_analyzer."
        )
    if not (folders.door / str(version) / CORE_CONFIG).exists():
        raise BadInput(
            f"'{folders.name}' does {recipe['task']} and has no graph that is timed batch by batch. Leave --measure "
            "out; `make bench` measures generation."
        )


def _shapes(inputs: tuple[TensorSpec, ...], max_tokens: int) -> list[tuple[int, int]]:
    """List the shapes that this model has: each once, none beyond its limit."""
    has_length = any(size < 0 for spec in inputs for size in spec.dims)
    return list(
        dict.fromkeys((rows, min(tokens, max_tokens) if has_length else 0) for rows, tokens in SHAPES)
    )


def _graph(folders: Folders, version: int) -> Path:
    home = folders.core / str(version)
    files = sorted(home.glob("*.onnx"))
    if not files:
        raise FilesChanged(
            f"{home} has lost its ONNX graph. Restore it from a backup, or leave --measure out."
        )
    return files[0]


def _without(manifest: Mapping[str, Any]) -> dict[str, Any]:
    card = {key: value for key, value in manifest.get("card", {}).items() if key not in _CARD_LEFT_OUT}
    return {**manifest, "card": card}


def _sizes(folders: Folders, version: int, manifest: Mapping[str, Any]) -> dict[str, int]:
    """Bytes of each file that the manifest names and that is there."""
    sizes = {}
    for path in manifest.get("files", {}):
        part, _, inner = path.partition("/")
        home = folders.door if part == "door" else folders.core
        if (home / str(version) / inner).is_file():
            sizes[path] = (home / str(version) / inner).stat().st_size
    return sizes


def _configs(folders: Folders, version: int) -> dict[str, str]:
    """Read the version's own configs, without the card, which the page tells by itself."""
    found = {}
    for file in (DOOR_CONFIG, CORE_CONFIG):
        config = read_kept(folders.door / str(version) / file)
        if config is not None:
            config.parameters.pop("model_card", None)
            found[file] = str(config)
    return found


def _describe_machine() -> str:
    features = ", ".join(cpu_features()) or "no vector extensions that matter"
    return f"{platform.machine()} with {features}; onnxruntime's CPU provider"
