"""
The model repository on disk: one lock, atomic publishing, versions that count up.

How a version appears, so that a reader (Triton, at any moment) never sees a config that names a missing version,
nor a door whose core isn't served:

1. both version folders are renamed into place, the core's first: no config names them yet;
2. the core's config serves the old stable version and the new one;
3. the door's config serves the new one;
4. the core's config serves the new one only.

A crash before 3 leaves the old release as it was, a crash after it the new one. What it leaves besides (staging
folders, a core version without a door) the next publishing removes.

Rules for later editors: everything that is seen by a reader arrives by a rename; everything renamed was fsynced.
Triton takes any folder at the repository's top for a model, a hidden one too, and doesn't start over a broken one.
So staging lies beside the repository, not in it.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from export import config_pbtxt
from export.artifacts import Draft
from export.errors import RepositoryError

LOCK_TIMEOUT_S = 60.0
"""Seconds to wait for another publishing; one takes well under a second, so a longer wait means it hangs."""

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
    with _as_repository_error(repository):
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
    with _as_repository_error(repository):
        lock = (repository / _LOCK_FILE).open("a")
    with lock:
        while not _try_lock(lock.fileno()):
            if time.monotonic() > deadline:
                raise RepositoryError(
                    f"Another export has held {repository / _LOCK_FILE} for {timeout_s:.0f} s. "
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
    with lock_repository(repository), _as_repository_error(repository):
        for left in parent.glob(f"{prefix}*"):
            _remove_if_dead(left)
        folder = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        owner = (folder / _OWNER_FILE).open("a")
        _try_lock(owner.fileno())
    try:
        content = folder / "content"
        content.mkdir()  # NOTE: mkdtemp's own folder is readable by its user only; Triton may run as another
        yield content
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        owner.close()


def versions_on_disk(model_folder: Path) -> list[int]:
    """
    List a model's version folders.

    Args:
        model_folder: The model's folder; need not exist.

    Returns:
        The versions, ascending; Triton ignores other names, and so does this.
    """
    if not model_folder.is_dir():
        return []
    names = [path.name for path in model_folder.iterdir() if path.is_dir()]
    return sorted(int(name) for name in names if name.isdecimal() and not name.startswith("0"))


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
    folder = repository / name
    config = config_pbtxt.read_config(folder)
    if config is None:
        if versions_on_disk(folder):
            raise RepositoryError(
                f"{folder} has versions but no {config_pbtxt.CONFIG_FILE}. Restore the file or remove the folder."
            )
        return None
    card = config_pbtxt.read_card(config)
    release = card.get("release") if card else None
    stable = release.get("stable") if isinstance(release, dict) else None
    if not isinstance(stable, int):
        raise RepositoryError(
            f"{folder} holds a model that triton-export didn't write. Choose another --name or remove it."
        )
    return stable


def publish(
    repository: Path,
    names: tuple[str, str],
    draft: Draft,
    make_configs: Callable[[int, list[int]], tuple[Any, Any]],
) -> int:
    """
    Publish a staged version as the new stable one; the caller holds the lock.

    Args:
        repository: The model repository.

        names: The door's name and the core's.

        draft: The version's folders, complete, on the repository's file system; they move.

        make_configs: Makes both ModelConfig messages, the door's and the core's, from the stable version and the
            versions that the core serves.

    Returns:
        The version's number.

    Raises:
        RepositoryError: If it can't be written; the release is then as it was.
    """
    door, core = (repository / name for name in names)
    before = stable_version(repository, names[0])
    with _as_repository_error(repository):
        _remove_orphans(door, core)
        version = max([0, *versions_on_disk(door), *versions_on_disk(core)]) + 1
        door_config, core_config = make_configs(version, [version])
        _, both_config = make_configs(version, [version] if before is None else [before, version])
        _add_version(core, draft.core_folder, version, core_config)
        _add_version(door, draft.door_folder, version, door_config)
        if before is not None:
            _replace_config(core, both_config)
            _replace_config(door, door_config)
            _replace_config(core, core_config)
    return version


def _add_version(model: Path, staged: Path, version: int, config: Any) -> None:
    """Rename a staged version into its model; the model's first one brings its config along."""
    _fsync_tree(staged)
    if (model / config_pbtxt.CONFIG_FILE).exists():
        staged.rename(model / str(version))
        _fsync(model)
        return
    # A model folder without config would keep Triton from starting, so the whole model arrives by one rename.
    whole = staged.parent / f"{staged.name}-model"
    whole.mkdir()
    staged.rename(whole / str(version))
    _replace_config(whole, config)
    if model.exists():
        model.rmdir()  # an empty folder of that name is nobody's; anything else is an error here
    whole.rename(model)
    _fsync(model.parent)


def _replace_config(model: Path, config: Any) -> None:
    """Write a config beside the old one and rename it over it."""
    new = model / f".{config_pbtxt.CONFIG_FILE}.new"
    with new.open("w", encoding="utf-8") as file:
        file.write(config_pbtxt.to_text(config))
        file.flush()
        os.fsync(file.fileno())
    new.replace(model / config_pbtxt.CONFIG_FILE)
    _fsync(model)


def _remove_orphans(door: Path, core: Path) -> None:
    """Remove core versions without a door: publishing died between the two renames, and no door calls them."""
    config = config_pbtxt.read_config(core)
    if core.exists() and any(core.iterdir()) and (config is None or not config_pbtxt.is_own_core(config)):
        raise RepositoryError(
            f"{core} holds a model that triton-export didn't write. Choose another --name or remove it."
        )
    doors = versions_on_disk(door)
    if not doors and core.exists():
        shutil.rmtree(core)
    served = [] if config is None else config_pbtxt.served_versions(config)
    for version in versions_on_disk(core):
        if version not in doors and version not in served:
            shutil.rmtree(core / str(version))


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
        if _try_lock(owner.fileno()):
            shutil.rmtree(folder, ignore_errors=True)


def _try_lock(descriptor: int) -> bool:
    """Take an exclusive lock without waiting; False if another process has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _fsync_tree(folder: Path) -> None:
    """Force a folder's files and folders to the disk."""
    for path in folder.rglob("*"):
        _fsync(path)
    _fsync(folder)


def _fsync(path: Path) -> None:
    """Force one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _as_repository_error(repository: Path) -> Iterator[None]:
    """Turn the system's errors into a sentence about the repository."""
    try:
        yield
    except OSError as error:
        raise RepositoryError(
            f"{repository} can't be written: {error.strerror or error}. Check its permissions and free space."
        ) from error
