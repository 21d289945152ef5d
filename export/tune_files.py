"""
The files that `tune` writes: candidates in a scratch repository, and the winner as a new version.

Files that stay as they are become hard links where the file system can: the new version has the same graph.
"""

import json
import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from export import config_pbtxt, releases
from export.artifacts import Draft, Graph
from export.config_pbtxt import read_card
from export.disk import as_repository_error, replace_file
from export.errors import RepositoryError
from export.following import Follower
from export.manifest import MANIFEST_FILE, hash_files, read_manifest, write_manifest
from export.options import CORE_SUFFIX
from export.transition import CORE_CONFIG, DOOR_CONFIG, Folders, keep_configs
from export.tune_settings import DOOR_SETTINGS_FILE, Served

_WRITTEN_ANEW = frozenset({DOOR_CONFIG, CORE_CONFIG, MANIFEST_FILE, DOOR_SETTINGS_FILE})


@dataclass(frozen=True)
class Scratch:
    """A repository that only `tune` reads."""

    folder: Path
    """Its folder, on the real repository's file system and outside it."""

    original: Folders
    """The model that is tuned."""

    version: int
    """The version whose files are linked; here it is version 1."""

    def place(self, slot: str, served: Served) -> None:
        """
        Lay out a candidate, or change it to another one.

        Args:
            slot: Its name in the scratch repository.

            served: How it is served.
        """
        core = slot + CORE_SUFFIX
        with as_repository_error(self.folder):
            self._write(slot, self.original.door, served.door_config)
            self._write(core, self.original.core, served.core_config)
            settings = served.door_settings | {"core_model": core}
            replace_file(self.folder / slot / "1" / DOOR_SETTINGS_FILE, json.dumps(settings))

    def _write(self, name: str, source: Path, config: Any) -> None:
        version = self.folder / name / "1"
        if not version.exists():
            link_tree(source / str(self.version), version)
        named = _copy(config)
        named.name = name
        named.version_policy.specific.versions[:] = [1]
        replace_file(self.folder / name / config_pbtxt.CONFIG_FILE, config_pbtxt.to_text(named))


def link_tree(source: Path, target: Path) -> None:
    """
    Copy a version's files, as hard links where that can be, without those that are written anew.

    Args:
        source: A version's folder.

        target: A folder that doesn't exist.
    """

    def ignore(_: str, names: list[str]) -> list[str]:
        return [name for name in names if name in _WRITTEN_ANEW or name == "__pycache__"]

    shutil.copytree(source, target, ignore=ignore, copy_function=_link)


def publish_tuned(
    folders: Folders,
    version: int,
    served: Served,
    figures: dict[str, Any],
    staging: Path,
    *,
    is_candidate: bool = False,
    follower: Follower | None = None,
) -> int:
    """
    Publish a version that differs from another one in its settings only.

    Args:
        folders: The model.

        version: The version that was tuned; still stable.

        served: The new version's settings.

        figures: What the manifest records of the search.

        staging: A folder on the repository's file system that nobody reads.

        is_candidate: True only puts it on disk, for a later `canary`.

        follower: A running Triton that is to follow.

    Returns:
        The new version's number.

    Raises:
        FollowFailed: If *follower* couldn't load it; the release is then as it was.

        RepositoryError: If another version has become stable meanwhile, or it can't be written.
    """
    with releases.lock_repository(folders.repository):
        stable = releases.stable_version(folders.repository, folders.name)
        manifest = read_manifest(folders.door / str(version))
        if stable != version or manifest is None:
            raise RepositoryError(
                f"'{folders.name}' was released anew meanwhile: version {version} was tuned and {stable} is stable "
                "now. Nothing was published; tune again."
            )
        with as_repository_error(folders.repository):
            draft = _assemble(folders, version, served, manifest, staging)
        created_at = datetime.now(UTC).isoformat(timespec="seconds")
        made = {"created_at": created_at, "files": hash_files(draft), "tune": figures}
        write_manifest(draft.door_folder, manifest | made)
        return releases.publish(
            folders.repository,
            (folders.name, folders.core.name),
            draft,
            lambda number, versions: _make_configs(served, number, versions),
            is_candidate=is_candidate,
            follower=follower,
        )


def _assemble(
    folders: Folders, version: int, served: Served, manifest: dict[str, Any], staging: Path
) -> Draft:
    """Lay out the new version, all but its manifest."""
    door, core = staging / "door", staging / "core"
    link_tree(folders.door / str(version), door)
    link_tree(folders.core / str(version), core)
    text = json.dumps(served.door_settings, indent=2)
    (door / DOOR_SETTINGS_FILE).write_text(text + "\n", encoding="utf-8")
    facts = manifest["graph"]
    # Publishing moves the folders and doesn't look at the graph, which is what it was.
    graph = Graph(core, (), facts["output"], facts["width"], facts["opset"], facts["precision"])
    draft = Draft(door, core, graph)
    keep_configs(draft, served.door_config, served.core_config)
    return draft


def _make_configs(served: Served, stable: int, core_versions: list[int]) -> tuple[Any, Any]:
    """Give both configs their versions, and the door's card its release."""
    door, core = _copy(served.door_config), _copy(served.core_config)
    card = (read_card(door) or {}) | {"release": {"stable": stable}}
    text = json.dumps(card, separators=(",", ":"), sort_keys=True)
    door.parameters["model_card"].string_value = text
    door.version_policy.specific.versions[:] = [stable]
    core.version_policy.specific.versions[:] = core_versions
    return door, core


def _copy(config: Any) -> Any:
    copied = type(config)()
    copied.CopyFrom(config)
    return copied


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
