"""
From one release to the next, edit by edit, so that a reader at any moment finds one that works.

1. the core serves the versions of both releases;
2. the door serves the versions of both, and its card has the new release: from here on it is the one that counts;
3. the door serves the new release's versions only;
4. the core does.

A Triton that reads the folders between two edits, or a process that is killed there, leaves no config that names a
missing version and no door whose core isn't served. Before 2 the old release answers, after it the new one; doing the
same move again does what is left. A running Triton is told after each edit, and façades get the time to look between
2 and 3. If it can't follow, the configs become again what they were.

A generator has no core: then 1 and 4 are nothing.

Triton's config is shared by all versions of a model. Each version's own is kept in its folder (`CONFIG_FILES`), so
that going back to a version also goes back to its config.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from export import config_pbtxt
from export.artifacts import Draft
from export.disk import as_repository_error, replace_file, versions_on_disk
from export.errors import BadInput, FollowFailed, RepositoryError
from export.following import Follower
from export.options import CORE_SUFFIX
from export.release_state import Release, read_release

DOOR_CONFIG, CORE_CONFIG = "door.config.pbtxt", "core.config.pbtxt"
"""A version's own configs, in the door's version folder, without versions and release; Triton ignores such files."""

_SHARED_FIELDS = (
    "backend",
    "platform",
    "runtime",
    "max_batch_size",
    "input",
    "output",
    "model_transaction_policy",
    "default_model_filename",
    "cc_model_filenames",
)
"""What two versions must have alike to be served at the same time: Triton has one config for both."""

_SHARED_CARD = ("task", "labels", "dimension", "chat_template")
"""And what their cards must have alike: the façade reads stable's, and would name the canary's answers by it."""


@dataclass(frozen=True)
class Folders:
    """Where a model's two Triton models lie."""

    repository: Path
    """The model repository."""

    name: str
    """The model's name, which is the door's."""

    @property
    def door(self) -> Path:
        """The door's folder."""
        return self.repository / self.name

    @property
    def core(self) -> Path:
        """The core's folder; a generator has none."""
        return self.repository / (self.name + CORE_SUFFIX)

    def has_core(self) -> bool:
        """Tell whether there is a core that the export wrote; somebody else's model of that name is none."""
        config = config_pbtxt.read_config(self.core)
        return config is not None and config_pbtxt.is_own_core(config)


def read_state(folders: Folders) -> Release | None:
    """
    Read which versions answer.

    Args:
        folders: The model.

    Returns:
        The release, or None if the model was never published.

    Raises:
        RepositoryError: If the name belongs to a model that this CLI didn't write, or its config is broken.
    """
    config = config_pbtxt.read_config(folders.door)
    on_disk = versions_on_disk(folders.door)
    if config is None:
        if on_disk:
            raise RepositoryError(
                f"{folders.door} has versions but no {config_pbtxt.CONFIG_FILE}. Restore the file or remove the folder."
            )
        return None
    release = read_release(config_pbtxt.read_card(config), on_disk)
    if release is None:
        raise RepositoryError(
            f"{folders.door} holds a model that triton-export didn't write. Choose another --name or remove it."
        )
    return release


def keep_configs(draft: Draft, door_config: Any, core_config: Any | None) -> None:
    """
    Write a version's own configs into its folder, before its files are hashed.

    Args:
        draft: The version's folders; nobody reads them yet.

        door_config: The door's ModelConfig message; versions and release don't matter.

        core_config: The core's, or None for a generator.
    """
    for name, config in ((DOOR_CONFIG, door_config), (CORE_CONFIG, core_config)):
        if config is not None:
            (draft.door_folder / name).write_text(config_pbtxt.to_text(_bare(config)), encoding="utf-8")


def find_hand_edits(folders: Folders) -> list[str]:
    """
    Find what somebody changed in the configs since they were written; the next move writes them anew.

    Args:
        folders: The model.

    Returns:
        The fields, each with its file.
    """
    edits = []
    for folder, file in ((folders.door, DOOR_CONFIG), (folders.core, CORE_CONFIG)):
        config = config_pbtxt.read_config(folder) if folder in _members(folders) else None
        if config is None:
            continue
        bare = _bare(config)
        served = config_pbtxt.served_versions(config)
        kept = [own for own in (read_kept(folders.door / str(v) / file) for v in served) if own is not None]
        # While one release becomes another, the config may be any of its versions'.
        if kept and all(bare != own for own in kept):
            names = {field.name for field in bare.DESCRIPTOR.fields}
            changed = [
                name for name in sorted(names) if all(_field(bare, name) != _field(own, name) for own in kept)
            ]
            edits += [f"'{name}' in {folder / config_pbtxt.CONFIG_FILE}" for name in changed]
    return edits


def check_side_by_side(one: Path, other: Path, remedy: str) -> None:
    """
    See that two versions can be served at the same time.

    Args:
        one: A door's version folder, or a draft's.

        other: Another.

        remedy: What to do if not.

    Raises:
        BadInput: If their configs differ in what Triton has once for both.
    """
    for file in (DOOR_CONFIG, CORE_CONFIG):
        left, right = (read_kept(folder / file) for folder in (one, other))
        if left is None and right is None:
            continue
        if left is None or right is None:
            if file == CORE_CONFIG and (one / DOOR_CONFIG).exists() and (other / DOOR_CONFIG).exists():
                raise BadInput(f"One of the versions in {one} and {other} has a core and the other has none.")
            continue  # one of them was published before configs were kept: nothing is known of it
        for field in _SHARED_FIELDS:
            if _field(left, field) != _field(right, field):
                raise BadInput(
                    f"The versions in {one} and {other} differ in '{field}' of their {file}, which Triton has once "
                    f"for all versions: they can't be served side by side. {remedy}"
                )
        cards = [config_pbtxt.read_card(config) or {} for config in (left, right)]
        for field in _SHARED_CARD:
            if cards[0].get(field) != cards[1].get(field):
                raise BadInput(
                    f"The versions in {one} and {other} differ in '{field}' of their model card, by which callers' "
                    f"answers are read: they can't be served side by side. {remedy}"
                )


def move_to(folders: Folders, target: Release, follower: Follower | None) -> None:
    """
    Make a release the one that answers; the caller holds the lock.

    Args:
        folders: The model; its door and, if it has one, its core are published already.

        target: The release; its versions are on disk.

        follower: A running Triton that is to follow; None edits files only.

    Raises:
        FollowFailed: If it couldn't; the release is then as it was, on disk and, as far as it answers, in Triton.

        RepositoryError: If a file can't be written; doing the same again does what is left.
    """
    before = [config_pbtxt.read_config(folder) for folder in _members(folders)]
    try:
        for config in _plan(folders, target):
            _edit(folders, config, follower)
    except FollowFailed as failure:
        left = _put_back(folders, before, follower)
        raise FollowFailed(f"{failure} {_tell(left)}") from failure


def _plan(folders: Folders, target: Release) -> list[Any]:
    """The configs to write, in their order; those that are there already too, for a Triton that missed one."""
    old_door = config_pbtxt.read_config(folders.door)
    new_door = read_kept(folders.door / str(target.stable) / DOOR_CONFIG) or old_door
    _set_release(new_door, target)
    both = {*config_pbtxt.served_versions(old_door), *target.versions}
    doors = [_with_versions(new_door, both), _with_versions(new_door, target.versions)]
    if not folders.has_core():
        return doors
    old_core = config_pbtxt.read_config(folders.core)
    new_core = read_kept(folders.door / str(target.stable) / CORE_CONFIG) or old_core
    first = _with_versions(old_core, {*config_pbtxt.served_versions(old_core), *both})
    return [first, *doors, _with_versions(new_core, target.versions)]


def _edit(folders: Folders, config: Any, follower: Follower | None) -> None:
    """Write one config if it isn't there yet, and have it loaded if it isn't served yet."""
    folder = folders.repository / config.name
    now = config_pbtxt.read_config(folder)
    drops = now is not None and bool(
        {*config_pbtxt.served_versions(now)} - {*config_pbtxt.served_versions(config)}
    )
    if follower is not None and drops and folder == folders.door:
        follower.settle()
    is_new = now != config
    if is_new:
        with as_repository_error(folders.repository):
            replace_file(folder / config_pbtxt.CONFIG_FILE, config_pbtxt.to_text(config))
    if follower is not None and (is_new or not follower.serves(config)):
        follower.load(config)


def _put_back(folders: Folders, before: Sequence[Any], follower: Follower | None) -> list[str]:
    """Write the configs that were there before, the core's first if it lacks a version; return what went wrong."""
    failures = []
    door, *cores = before
    edits = [door, *cores]
    for core in cores:
        now = config_pbtxt.served_versions(config_pbtxt.read_config(folders.core))
        if not {*config_pbtxt.served_versions(core)} <= {*now}:
            edits.insert(0, _with_versions(core, {*now, *config_pbtxt.served_versions(core)}))
    for config in edits:
        try:
            _edit(folders, config, follower)
        except FollowFailed as failure:
            failures.append(str(failure))
    return failures


def _tell(failures: Sequence[str]) -> str:
    if not failures:
        return "The release is as it was."
    return (
        "The repository has the old release again, but Triton could not be brought back to it: "
        f"{' '.join(failures)} Restart it."
    )


def _members(folders: Folders) -> list[Path]:
    return [folders.door, folders.core] if folders.has_core() else [folders.door]


def read_kept(path: Path) -> Any | None:
    """
    Read a version's own config.

    Args:
        path: `DOOR_CONFIG` or `CORE_CONFIG` in the door's version folder.

    Returns:
        The ModelConfig message, or None if the version has no such file.

    Raises:
        RepositoryError: If there is one that can't be read.
    """
    try:
        return config_pbtxt.from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, text_format.ParseError) as error:
        raise RepositoryError(f"{path} can't be read ({error}). Export the model again.") from error


def _bare(config: Any) -> Any:
    """Leave out what isn't a version's own: which versions are served, and the release."""
    bare = _with_versions(config, ())
    if config_pbtxt.read_card(bare) is not None:
        _set_release(bare, None)
    return bare


def _with_versions(config: Any, versions: Iterable[int]) -> Any:
    copy = type(config)()
    copy.CopyFrom(config)
    copy.version_policy.specific.versions[:] = sorted(versions)
    return copy


def _set_release(door_config: Any, release: Release | None) -> None:
    """Write a release into the door's card, or take it out."""
    card = config_pbtxt.read_card(door_config)
    if card is None:
        raise RepositoryError(f"The config of '{door_config.name}' has lost its model card. Export it again.")
    card.pop("release", None)
    if release is not None:
        card["release"] = release.to_json()
    door_config.parameters["model_card"].string_value = json.dumps(
        card, separators=(",", ":"), sort_keys=True
    )


def _field(config: Any, name: str) -> Any:
    """A field's value in a form that can be compared, whether it is one, several, or a map."""
    only = type(config)()
    only.CopyFrom(config)
    for field, _ in config.ListFields():
        if field.name != name:
            only.ClearField(field.name)
    return only.SerializeToString(deterministic=True)
