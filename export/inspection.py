"""What is in a repository, read only: models, versions, what differs, and whether files are what they were."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from export import config_pbtxt
from export.disk import versions_on_disk
from export.errors import FilesChanged, ModelNotFound
from export.manifest import MANIFEST_FILE, hash_folder, read_manifest
from export.progress import Step
from export.release_moves import check_version, find_model, scan_models
from export.release_state import Release
from export.transition import CORE_CONFIG, DOOR_CONFIG, Folders, read_kept, read_state

_ABSENT = "-"


@dataclass(frozen=True)
class VersionFacts:
    """One version, as its files and its manifest say."""

    version: int
    """Its number."""

    role: str
    """``stable``, ``canary``, ``previous``, or ``candidate``: on disk and never stable."""

    bytes: int
    """Size of all its files."""

    manifest: dict[str, Any] | None
    """Its provenance; None if that can't be read."""

    def to_json(self) -> dict[str, Any]:
        """Write it for ``--json``."""
        manifest = self.manifest or {}
        parity = manifest.get("parity", {})
        return {
            "version": self.version,
            "role": self.role,
            "bytes": self.bytes,
            "created_at": manifest.get("created_at"),
            "recipe": manifest.get("recipe"),
            "parity": {name: value for name, value in parity.items() if name != "points"},
        }


def list_models(repository: Path) -> list[dict[str, Any]]:
    """
    Sum up every model that this CLI wrote.

    Args:
        repository: The model repository.

    Returns:
        Name, task, release and versions of each, by name; with ``error`` instead of task and release where a
        config can't be read.

    Raises:
        ModelNotFound: If there is no such repository.

        RepositoryError: If a model's release can't be read.
    """
    if not repository.is_dir():
        raise ModelNotFound(f"There is no model repository at {repository}. Name it with --repository.")
    rows: list[dict[str, Any]] = []
    for name, error in scan_models(repository):
        folders = Folders(repository, name)
        versions = versions_on_disk(folders.door)
        if error is not None:
            rows.append({"name": name, "error": str(error), "versions": versions})
            continue
        card = config_pbtxt.read_card(config_pbtxt.read_config(folders.door)) or {}
        release = read_state(folders)
        rows.append(
            {
                "name": name,
                "task": card.get("task"),
                "release": None if release is None else release.to_json(),
                "versions": versions,
            }
        )
    return rows


def show_model(repository: Path, name: str) -> tuple[Release, list[VersionFacts]]:
    """
    Describe a model's release and its versions.

    Args:
        repository: The model repository.

        name: The model's name.

    Returns:
        The release, and the facts of each version on disk, the newest first.

    Raises:
        BadInput: If it can't be a name.

        ModelNotFound: If there is no such model.

        RepositoryError: If it isn't ours, or can't be read.
    """
    folders = find_model(repository, name)
    release = read_state(folders)
    if release is None:
        raise ModelNotFound(f"{folders.door} is empty. Export the model first.")
    versions = sorted(versions_on_disk(folders.door), reverse=True)
    return release, [_facts(folders, version, release) for version in versions]


def check_files(repository: Path, name: str, version: int, step: Step | None = None) -> int:
    """
    Compare a version's files with what its manifest says of them.

    Args:
        repository: The model repository.

        name: The model's name.

        version: The version.

        step: Told how far it is.

    Returns:
        How many files were compared.

    Raises:
        BadInput: If it can't be a name.

        ModelNotFound: If there is no such model or version.

        FilesChanged: If a file is missing, changed or strange, or the manifest can't be read.

        RepositoryError: If the version has lost its core.
    """
    folders = find_model(repository, name)
    check_version(folders, version)
    door, core = folders.door / str(version), folders.core / str(version)
    manifest = read_manifest(door)
    if manifest is None:
        raise FilesChanged(f"{door / MANIFEST_FILE} is missing or can't be read: nothing says what is right.")
    expected: dict[str, str] = manifest["files"]
    folders_read = {"door": door}
    if any(path.startswith("core/") for path in expected):
        folders_read["core"] = core
    on_bytes = _count_bytes(folders_read.values(), step)
    found: dict[str, str] = {}
    for part, folder in folders_read.items():
        found |= hash_folder(part, folder, on_bytes)
    wrong = [f"{path} is missing" for path in sorted(expected.keys() - found.keys())]
    wrong += [
        f"{path} has changed"
        for path in sorted(expected)
        if found.get(path, expected[path]) != expected[path]
    ]
    wrong += [f"{path} doesn't belong there" for path in sorted(found.keys() - expected.keys())]
    if wrong:
        raise FilesChanged(
            f"Version {version} of '{name}' isn't what was exported: {'; '.join(wrong)}. "
            "Restore the files from a backup, or export again and prune this version."
        )
    return len(expected)


def _count_bytes(folders: Iterable[Path], step: Step | None) -> Callable[[int], None]:
    """Make what tells a step of each piece that was read."""
    total = sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())
    done = 0

    def count(size: int) -> None:
        nonlocal done
        done += size
        if step is not None:
            step.advance(done, total)

    return count


def compare_versions(repository: Path, name: str, one: int, other: int) -> dict[str, tuple[Any, Any]]:
    """
    Find everything in which two versions differ.

    Args:
        repository: The model repository.

        name: The model's name.

        one: A version.

        other: Another.

    Returns:
        Both values by a dotted name, in order: recipe, tools, figures, configs, sizes and files.

    Raises:
        BadInput: If it can't be a name.

        ModelNotFound: If there is no such model or version.

        RepositoryError: If a version has lost its core, or one of its own configs can't be read.
    """
    folders = find_model(repository, name)
    for version in (one, other):
        check_version(folders, version)
    left, right = (_flat_facts(folders, version) for version in (one, other))
    both = dict.fromkeys([*left, *right])
    return {
        key: (left.get(key, _ABSENT), right.get(key, _ABSENT))
        for key in both
        if left.get(key) != right.get(key)
    }


def _facts(folders: Folders, version: int, release: Release) -> VersionFacts:
    role = "candidate"
    if version == release.stable:
        role = "stable"
    elif version == release.canary:
        role = "canary"
    elif version in release.previous:
        role = "previous"
    manifest = read_manifest(folders.door / str(version))
    return VersionFacts(version, role, sum(_sizes(folders, version).values()), manifest)


def _sizes(folders: Folders, version: int) -> dict[str, int]:
    """Bytes of each file of a version, by its path in the manifest's words."""
    sizes = {}
    for part, folder in (("door", folders.door / str(version)), ("core", folders.core / str(version))):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.parent.name != "__pycache__":
                sizes[f"{part}/{path.relative_to(folder).as_posix()}"] = path.stat().st_size
    return sizes


def _flat_facts(folders: Folders, version: int) -> dict[str, Any]:
    """All that can differ between versions, by dotted names."""
    door = folders.door / str(version)
    manifest = read_manifest(door) or {}
    parity = {name: value for name, value in manifest.get("parity", {}).items() if name != "points"}
    facts: dict[str, Any] = {}
    sections = {
        **{key: manifest.get(key, {}) for key in ("recipe", "tools", "card", "graph")},
        "parity": parity,
    }
    for section, values in sections.items():
        facts |= _flatten(section, values)
    for file in (DOOR_CONFIG, CORE_CONFIG):
        config = read_kept(door / file)
        if config is not None:
            fields = json_format.MessageToDict(config, preserving_proto_field_name=True)
            # The card is compared field by field above.
            fields.get("parameters", {}).pop("model_card", None)
            facts |= _flatten(file.removesuffix(".pbtxt"), fields)
    sizes = _sizes(folders, version)
    facts["bytes"] = sum(sizes.values())
    facts |= {f"bytes.{path}": size for path, size in sizes.items() if path != f"door/{MANIFEST_FILE}"}
    return facts | {f"sha256.{path}": digest[:12] for path, digest in manifest.get("files", {}).items()}


def _flatten(name: str, value: Any) -> dict[str, Any]:
    """Nested mappings as dotted names."""
    if not isinstance(value, dict):
        return {name: value}
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        flat |= _flatten(f"{name}.{key}", inner)
    return flat
