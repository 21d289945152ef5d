"""
The model repository on disk: what Triton will stumble over, and what a version should have.

The files are the contract (docs/architecture.md): `config.pbtxt` with the model card, and `manifest.json` in a door's
version folder, which names each file of the version with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from facade.doctor.finding import Finding, ok, problem, skipped, warning
from facade.inference.catalogue import ModelCard
from facade.triton.config_file import ConfigFile, ConfigUnreadable, parse_config

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CONFIG_FILE = "config.pbtxt"
MANIFEST_FILE = "manifest.json"
CORE_SUFFIX = "_core"

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_RE_EXPORT = "Export it again with `triton-export export`"


@dataclass(frozen=True)
class ModelOnDisk:
    """One model folder that Triton could load."""

    name: str
    """The folder's name."""

    versions: tuple[int, ...]
    """Its version folders, ascending."""

    config: ConfigFile
    """What its config says."""

    card: ModelCard | None
    """Its card; None where it has none, or none that can be read."""


@dataclass
class RepositoryLook:
    """What was found in a repository."""

    findings: list[Finding] = field(default_factory=list)
    """A line a model, more where there is more to say."""

    models: dict[str, ModelOnDisk] = field(default_factory=dict)
    """What can be loaded, by name."""


def examine_repository(repository: Path, *, is_deep: bool) -> RepositoryLook:
    """
    Look at each model's folder.

    Args:
        repository: The model repository.

        is_deep: Whether files are hashed, which reads all of them.

    Returns:
        What was found.
    """
    look = RepositoryLook()
    try:
        folders = sorted(path for path in repository.iterdir() if path.is_dir())
    except OSError as error:
        remedy = "Name the repository with --repository, and see that this user may read it."
        look.findings.append(
            problem("folder", f"{repository} can't be read: {error.strerror or error}", remedy)
        )
        return look
    for folder in folders:
        if folder.name.startswith("."):
            remedy = f"Remove it, or move it out: Triton takes each folder for a model. {folder}"
            look.findings.append(
                warning(folder.name, "a hidden folder, which Triton takes for a model", remedy)
            )
            continue
        _examine_model(folder, look)
    if not folders:
        remedy = "Export a model: `triton-export export MODEL --name NAME`."
        look.findings.append(warning("models", f"{repository} holds no model", remedy))
    for model in look.models.values():
        look.findings.append(_examine_versions(repository, model, look.models, is_deep=is_deep))
    return look


def _examine_model(folder: Path, look: RepositoryLook) -> None:
    """Read a model's config and card; what is broken becomes a finding, what isn't a `ModelOnDisk`."""
    name = folder.name
    try:
        config = parse_config((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        versions = versions_in(folder)
    except FileNotFoundError:
        remedy = f"{_RE_EXPORT}, or remove {folder}: Triton may not start while it is there."
        look.findings.append(problem(name, f"has no {CONFIG_FILE}", remedy))
        return
    except OSError as error:
        remedy = f"Let this user and Triton's read {folder}: `chmod -R a+rX {folder}`."
        look.findings.append(problem(name, f"can't be read: {error.strerror or error}", remedy))
        return
    except (ConfigUnreadable, UnicodeDecodeError) as error:
        remedy = f"Mend {folder / CONFIG_FILE}; {folder}/VERSION/door.config.pbtxt is what was exported."
        look.findings.append(problem(name, f"{CONFIG_FILE} can't be parsed: {error}", remedy))
        return
    if config.name not in {"", name}:
        remedy = f"Make the folder's name and `name` in {folder / CONFIG_FILE} the same."
        look.findings.append(
            problem(name, f"its config is called {config.name!r}: Triton won't load it", remedy)
        )
        return
    look.models[name] = ModelOnDisk(name, versions, config, _read_card(folder, config, look))


def _read_card(folder: Path, config: ConfigFile, look: RepositoryLook) -> ModelCard | None:
    if config.model_card is None:
        return None
    try:
        return msgspec.json.decode(config.model_card, type=ModelCard)
    except (msgspec.MsgspecError, RecursionError) as error:
        remedy = f"{_RE_EXPORT}; without a card it answers on /v2 only."
        look.findings.append(problem(folder.name, f"parameters.model_card can't be read: {error}", remedy))
        return None


def versions_in(folder: Path) -> tuple[int, ...]:
    """
    List a model's version folders.

    Args:
        folder: The model's.

    Returns:
        The versions, ascending; Triton ignores other names, and so does this.

    Raises:
        OSError: If it can't be read.
    """
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    return tuple(sorted(int(name) for name in names if name.isdecimal() and not name.startswith("0")))


def _examine_versions(
    repository: Path, model: ModelOnDisk, models: Mapping[str, ModelOnDisk], *, is_deep: bool
) -> Finding:
    """Check that what is to be served is there and whole."""
    name, folder = model.name, repository / model.name
    if not model.versions and not model.config.is_ensemble:
        return problem(name, "has no version folder", f"{_RE_EXPORT}, or remove {folder}.")
    release = model.card.release if model.card is not None else None
    named = {release.stable, *([release.canary] if release.canary else [])} if release is not None else set()
    served = set(model.config.served_versions or ()) | named
    if gone := sorted(served - set(model.versions)):
        remedy = (
            f"`triton-export show {name}` lists what is there; go back with `triton-export rollback {name}`."
        )
        return problem(name, f"is to serve version {_list(gone)}, which isn't on disk", remedy)
    if (
        release is not None
        and model.config.served_versions
        and not named <= set(model.config.served_versions)
    ):
        remedy = f"A move was cut off: see `triton-export show {name}`, and repeat the canary, promote or rollback."
        return problem(name, "its version_policy leaves out what its card's release names", remedy)
    if model.card is None:
        return _describe_cardless(model, models)
    checked = 0
    for version in sorted(served) or [model.versions[-1]]:
        wrong, files = _check_version(repository, model, version, models, is_deep=is_deep)
        if wrong is not None:
            return wrong
        checked += files
    how = "hashed" if is_deep else "there; --deep compares their hashes"
    canary = f", canary {release.canary}" if release is not None and release.canary else ""
    stable = (
        f"stable {release.stable}{canary}" if release is not None else f"versions {_list(model.versions)}"
    )
    return ok(name, f"{model.card.task}, {stable}; {checked} files {how}")


def _describe_cardless(model: ModelOnDisk, models: Mapping[str, ModelOnDisk]) -> Finding:
    door = models.get(model.name.removesuffix(CORE_SUFFIX))
    runs_on = model.config.backend or model.config.platform or "an unnamed backend"
    if door is not None and door is not model:
        return ok(model.name, f"the core of {door.name} ({runs_on}), versions {_list(model.versions)}")
    return ok(model.name, f"{runs_on}, not made by triton-export: answers on /v2 only")


def _check_version(
    repository: Path, model: ModelOnDisk, version: int, models: Mapping[str, ModelOnDisk], *, is_deep: bool
) -> tuple[Finding | None, int]:
    """Compare a version's files with its manifest; gives what is wrong, if anything, and how many files there are."""
    name = model.name
    parts = {
        "door": repository / name / str(version),
        "core": repository / f"{name}{CORE_SUFFIX}" / str(version),
    }
    try:
        manifest = json.loads((parts["door"] / MANIFEST_FILE).read_text(encoding="utf-8"))
        files: dict[str, str] = {str(path): str(sha256) for path, sha256 in manifest["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        remedy = f"{_RE_EXPORT}: without its manifest nobody can say whether the version is whole."
        return warning(name, f"version {version} has no {MANIFEST_FILE} that can be read", remedy), 0
    if any(path.startswith("core/") for path in files) and f"{name}{CORE_SUFFIX}" not in models:
        remedy = f"{_RE_EXPORT}: every request to {name} fails without {name}{CORE_SUFFIX}."
        return problem(
            name, f"version {version} needs the model {name}{CORE_SUFFIX}, which isn't there", remedy
        ), 0
    wrong = []
    for path, sha256 in sorted(files.items()):
        part, _, rest = path.partition("/")
        if part in parts and (why := _check_file(parts[part] / rest, sha256, is_deep=is_deep)):
            wrong.append(f"{path} {why}")
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        remedy = (
            f"Copy the version again from where it was made, or go back: `triton-export rollback {name}`."
        )
        return problem(name, f"version {version}: {wrong[0]}{more}", remedy), 0
    return None, len(files)


def _check_file(path: Path, sha256: str, *, is_deep: bool) -> str | None:
    """Say what is wrong with a file; None if nothing is."""
    try:
        if not path.is_file():
            return "is missing"
        if path.stat().st_size == 0 and sha256 != _EMPTY_SHA256:
            return "is empty"
        with path.open("rb") as file:
            if is_deep and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return "isn't what was exported"
    except OSError as error:
        return f"can't be read ({error.strerror or error})"
    return None


def skip_repository() -> RepositoryLook:
    """Say that there is no repository to look at."""
    found = "no ./model_repository here; name one with --repository to have it looked at"
    return RepositoryLook([skipped("folder", found)])


def _list(versions: tuple[int, ...] | list[int]) -> str:
    return ", ".join(map(str, versions)) or "none"
