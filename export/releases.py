"""
The model repository on disk: one lock, atomic publishing, versions that count up.

A version appears in two renames, the core's folder first: no config names it yet. What makes it answer is
`transition`. What a crash leaves besides (staging folders, a core version without a door) the next publishing removes.

Rules for later editors: everything that is seen by a reader arrives by a rename; everything renamed was fsynced.
Triton takes any folder at the repository's top for a model, a hidden one too, and doesn't start over a broken one.
So staging lies beside the repository, not in it.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from export import config_pbtxt
from export.artifacts import Draft
from export.disk import as_repository_error, fsync, fsync_tree, replace_file, try_lock, versions_on_disk
from export.errors import FollowFailed, RepositoryError
from export.following import Follower
from export.release_state import published
from export.transition import Folders, check_side_by_side, move_to, read_state

LOCK_TIMEOUT_S = 60.0
"""Seconds to wait for another one; a move takes well under a second, but the loading of a followed Triton longer."""

_LOCK_FILE = ".lock"
_OWNER_FILE = ".owner"
_POLL_S = 0.05


def open_repository(repository: Path) -> None:
    """
    Make the repository's folder if it isn't there, and see that it can be written.

    Args:
        repository: The model repository.

    Raises:
        RepositoryError: If it can't be.
    """
    with as_repository_error(repository):
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=repository):
            pass


@contextmanager
def lock_repository(repository: Path, timeout_s: float = LOCK_TIMEOUT_S) -> Iterator[None]:
    """
    Keep other exports from publishing; freed by the system when this process dies.

    Args:
        repository: The model repository.

        timeout_s: Seconds to wait for another holder.

    Yields:
        Nothing; the lock lasts for the `with` statement.

    Raises:
        RepositoryError: If another process holds it for longer.
    """
    deadline = time.monotonic() + timeout_s
    with as_repository_error(repository):
        lock = (repository / _LOCK_FILE).open("a")
    with lock:
        while not try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise RepositoryError(
                    f"Another triton-export has held {repository / _LOCK_FILE} for {timeout_s:.0f} s. "
                    "Wait for it, or stop it, then repeat."
                )
            time.sleep(_POLL_S)
        yield


@contextmanager
def staging_folder(repository: Path) -> Iterator[Path]:
    """
    Make a folder on the repository's file system, where a version can grow unseen; removed at the end.

    Staging folders whose export died are removed first; a living one holds a lock on its folder.

    Args:
        repository: The model repository; must exist.

    Yields:
        The empty folder.
    """
    parent, prefix = _staging_place(repository)
    with lock_repository(repository), as_repository_error(repository):
        for left in parent.glob(f"{prefix}*"):
            _remove_if_dead(left)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        owner = (folder / _OWNER_FILE).open("a")
        try_lock(owner.fileno())
    try:
        content = folder / "content"
        content.mkdir()  # NOTE: mkdtemp's own folder is readable by its user only; Triton may run as another
        yield content
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        owner.close()


def stable_version(repository: Path, name: str) -> int | None:
    """
    Read which version is stable.

    Args:
        repository: The model repository.

        name: The model's name.

    Returns:
        The version, or None if the model was never published.

    Raises:
        RepositoryError: If the name belongs to a model that this CLI didn't write, or its config is broken.
    """
    release = read_state(Folders(repository, name))
    return None if release is None else release.stable


def publish(
    repository: Path,
    names: tuple[str, str],
    draft: Draft,
    make_configs: Callable[[int, list[int]], tuple[Any, Any | None]],
    *,
    is_candidate: bool = False,
    follower: Follower | None = None,
) -> int:
    """
    Publish a staged version; the caller holds the lock.

    Args:
        repository: The model repository.

        names: The door's name and the core's.

        draft: The version's folders, complete with its own configs (`transition.keep_configs`) and its manifest, on
            the repository's file system; they move.

        make_configs: Makes the ModelConfig messages of the door and of the core (None for a generator's) from the
            stable version and the versions that the core serves.

        is_candidate: True only puts it on disk, for a later `canary`; a model's first version is stable all the same.

        follower: A running Triton that is to follow.

    Returns:
        The version's number.

    Raises:
        BadInput: If *follower* would have to serve it beside a version that it can't be served beside.

        FollowFailed: If *follower* couldn't load it; the release is then as it was.

        RepositoryError: If it can't be written; the release is then as it was.
    """
    folders = Folders(repository, names[0])
    door, core = folders.door, folders.core
    before = read_state(folders)
    with as_repository_error(folders.repository):
        _remove_orphans(door, core, needs_core=draft.core_folder is not None)
        cores_on_disk = [] if draft.core_folder is None else versions_on_disk(core)
        version = max([0, *versions_on_disk(door), *cores_on_disk]) + 1
        door_config, core_config = make_configs(version, [version])
        if before is not None and follower is not None and not is_candidate:
            remedy = "Leave --triton out and restart Triton afterwards, or choose another --name."
            check_side_by_side(door / str(before.stable), draft.door_folder, remedy)
        if draft.core_folder is not None:
            _add_version(core, draft.core_folder, version, core_config)
        _add_version(door, draft.door_folder, version, door_config)
    if before is None:
        _follow_first(folders, [core_config, door_config], follower)
    elif not is_candidate:
        move_to(folders, published(before, version), follower)
    return version


def _follow_first(folders: Folders, configs: Sequence[Any | None], follower: Follower | None) -> None:
    """Have a model's first version loaded; if that fails there is no model, as before."""
    if follower is None:
        return
    try:
        for config in configs:
            if config is not None:
                follower.load(config)
    except FollowFailed as failure:
        for folder in (folders.door, folders.core):
            with suppress(FollowFailed):
                follower.unload(folder.name)
        with as_repository_error(folders.repository):
            _remove_whole(folders.door)
            if configs[0] is not None:
                _remove_whole(folders.core)
        raise FollowFailed(f"{failure} Nothing was published.") from failure


def _remove_whole(model: Path) -> None:
    """Remove a model in a way that a reader sees all of it or nothing."""
    parent, prefix = _staging_place(model.parent)
    trash = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
    model.rename(trash / model.name)
    fsync(model.parent)
    shutil.rmtree(trash, ignore_errors=True)


def _add_version(model: Path, staged: Path, version: int, config: Any) -> None:
    """Rename a staged version into its model; the model's first one brings its config along."""
    fsync_tree(staged)
    if (model / config_pbtxt.CONFIG_FILE).exists():
        staged.rename(model / str(version))
        fsync(model)
        return
    # A model folder without config would keep Triton from starting, so the whole model arrives by one rename.
    whole = staged.parent / f"{staged.name}-model"
    whole.mkdir()
    staged.rename(whole / str(version))
    replace_file(whole / config_pbtxt.CONFIG_FILE, config_pbtxt.to_text(config))
    if model.exists():
        model.rmdir()  # an empty folder of that name is nobody's; anything else is an error here
    whole.rename(model)
    fsync(model.parent)


def _remove_orphans(door: Path, core: Path, *, needs_core: bool) -> None:
    """Remove core versions without a door: publishing died between the two renames, and no door calls them."""
    config = config_pbtxt.read_config(core)
    is_own = config is not None and config_pbtxt.is_own_core(config)
    if needs_core and core.exists() and any(core.iterdir()) and not is_own:
        raise RepositoryError(
            f"{core} holds a model that triton-export didn't write. Choose another --name or remove it."
        )
    if not is_own:
        return
    doors = versions_on_disk(door)
    if not doors:
        shutil.rmtree(core)
    for version in versions_on_disk(core):
        if version not in doors and version not in config_pbtxt.served_versions(config):
            shutil.rmtree(core / str(version))


def remove_versions(folders: Folders, versions: Sequence[int]) -> None:
    """
    Remove versions that no config serves; the caller holds the lock.

    Args:
        folders: The model.

        versions: The versions; those that are gone already are no matter.

    Raises:
        RepositoryError: If a folder can't be removed; doing it again does what is left.
    """
    with as_repository_error(folders.repository):
        parent, prefix = _staging_place(folders.repository)
        trash = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        try:
            for model in (folders.door, *([folders.core] if folders.has_core() else [])):
                for version in versions:
                    if (model / str(version)).exists():
                        (model / str(version)).rename(trash / f"{model.name}-{version}")
                        fsync(model)
        finally:
            shutil.rmtree(trash, ignore_errors=True)


def _staging_place(repository: Path) -> tuple[Path, str]:
    """Return where staging folders lie and how their names start: beside the repository, if that can be."""
    repository = repository.resolve()
    beside = repository.parent
    is_same_disk = beside.stat().st_dev == repository.stat().st_dev
    if is_same_disk and os.access(beside, os.W_OK):
        return beside, f".{repository.name}.staging-"
    # The repository is a mount of its own, and a rename can't leave a file system.
    return repository, ".staging-"


def _remove_if_dead(folder: Path) -> None:
    """Remove a staging folder whose owner doesn't live any more; the caller holds the repository's lock."""
    with (folder / _OWNER_FILE).open("a") as owner:
        if try_lock(owner.fileno()):
            shutil.rmtree(folder, ignore_errors=True)
