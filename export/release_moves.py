"""
The moves of a release: canary, promote, rollback, prune. Each takes the lock, looks, decides and does it.

Every move may be repeated, run twice at once, and killed at any point: repeated, it does what is left.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from export import config_pbtxt
from export.disk import versions_on_disk
from export.errors import BadInput, ModelNotFound, RepositoryError
from export.following import Follower
from export.manifest import read_manifest
from export.options import check_name
from export.release_state import Release, promoted, rolled_back, with_canary
from export.releases import lock_repository, remove_versions
from export.transition import CORE_CONFIG, Folders, check_side_by_side, find_hand_edits, move_to, read_state

WITHOUT_TRITON = "Leave --triton out, and restart Triton afterwards."
"""What to do where a running Triton would have to serve both for a moment."""


@dataclass(frozen=True)
class Moved:
    """What a move did."""

    name: str
    """The model's name."""

    before: Release
    """What answered before."""

    after: Release
    """What answers now."""

    undone: tuple[str, ...] = ()
    """Fields of configs that somebody had edited by hand, and that are again what was exported."""

    @property
    def is_new(self) -> bool:
        """Whether anything is different now."""
        return self.before != self.after


def start_canary(
    repository: Path, name: str, version: int, percent: float, follower: Follower | None = None
) -> Moved:
    """
    Put a version on trial.

    Args:
        repository: The model repository.

        name: The model's name.

        version: The version; on disk.

        percent: Share of callers that get it, 0 to 100.

        follower: A running Triton that is to follow.

    Returns:
        What was done.

    Raises:
        BadInput: If it is stable already, can't be served beside it, or the share is no share.

        ModelNotFound: If there is no such model or version.

        FollowFailed: If *follower* couldn't; the release is as it was.

        RepositoryError: If the repository was edited by hand, or can't be written.
    """

    def decide(folders: Folders, release: Release) -> Release:
        target = with_canary(release, version, percent)
        check_version(folders, version)
        check_side_by_side(
            folders.door / str(release.stable),
            folders.door / str(version),
            "Export the new one under a name of its own.",
        )
        return target

    return _move(repository, name, decide, follower)


def promote(repository: Path, name: str, follower: Follower | None = None) -> Moved:
    """
    Make the canary stable; without one nothing changes.

    Args:
        repository: The model repository.

        name: The model's name.

        follower: A running Triton that is to follow.

    Returns:
        What was done.

    Raises:
        ModelNotFound: If there is no such model.

        FollowFailed: If *follower* couldn't; the release is as it was.

        RepositoryError: If the repository was edited by hand, or can't be written.
    """
    return _move(repository, name, lambda _folders, release: promoted(release), follower)


def rollback(repository: Path, name: str, to: int | None = None, follower: Follower | None = None) -> Moved:
    """
    Drop the canary, or else return to the version that was stable before.

    Args:
        repository: The model repository.

        name: The model's name.

        to: The version to return to; None takes back the last move, once.

        follower: A running Triton that is to follow.

    Returns:
        What was done.

    Raises:
        BadInput: If the version can't be served beside the present one, and *follower* would have to for a moment.

        ModelNotFound: If there is no such model or earlier version.

        FollowFailed: If *follower* couldn't; the release is as it was.

        RepositoryError: If the repository was edited by hand, or can't be written.
    """

    def decide(folders: Folders, release: Release) -> Release:
        target = rolled_back(release, to)
        if follower is not None and target.stable != release.stable:
            check_side_by_side(
                folders.door / str(release.stable), folders.door / str(target.stable), WITHOUT_TRITON
            )
        return target

    return _move(repository, name, decide, follower)


def prune(repository: Path, name: str, keep: int) -> list[int]:
    """
    Remove versions from the disk that nobody will go back to.

    Kept are: the stable version and those that were stable before it, *keep* together; the canary; and what is newer
    than stable, as it may still be tried.

    Args:
        repository: The model repository.

        name: The model's name.

        keep: Stable versions to keep, at least 1.

    Returns:
        The versions removed, ascending.

    Raises:
        BadInput: If *keep* is less than 1.

        ModelNotFound: If there is no such model.

        RepositoryError: If the repository was edited by hand, or can't be written.
    """
    if keep < 1:
        raise BadInput(f"--keep must be at least 1, the version that answers; got {keep}.")
    folders = find_model(repository, name)
    with lock_repository(repository):
        release = _require(read_state(folders))
        kept = {*release.versions, *release.previous[: keep - 1]}
        members = [folders.door, *([folders.core] if folders.has_core() else [])]
        served = [config_pbtxt.served_versions(config_pbtxt.read_config(folder)) for folder in members]
        kept.update(version for versions in served for version in versions)
        on_disk = {version for folder in members for version in versions_on_disk(folder)}
        doomed = sorted(version for version in on_disk - kept if version < release.stable)
        if doomed:
            remove_versions(folders, doomed)
    return doomed


def find_model(repository: Path, name: str) -> Folders:
    """
    See that there is such a model.

    Args:
        repository: The model repository.

        name: The model's name, as somebody typed it.

    Returns:
        Where it is.

    Raises:
        BadInput: If it can't be a name.

        ModelNotFound: If there is no such model, or no such repository.
    """
    check_name(name)
    if not repository.is_dir():
        raise ModelNotFound(f"There is no model repository at {repository}. Name it with --repository.")
    folders = Folders(repository, name)
    if not folders.door.is_dir():
        raise ModelNotFound(
            f"There is no model '{name}' in {repository}. Models: {', '.join(model_names(repository)) or 'none'}."
        )
    return folders


def model_names(repository: Path) -> list[str]:
    """
    List the models that this CLI wrote.

    Args:
        repository: The model repository.

    Returns:
        Their names, in order; a core is a part of its model and not listed.
    """
    return [name for name, error in scan_models(repository) if error is None]


def scan_models(repository: Path) -> Iterator[tuple[str, RepositoryError | None]]:
    """
    Look through a repository for models that this CLI wrote, and for what it can't tell from one.

    Args:
        repository: The model repository.

    Yields:
        Names in order, each with why its config can't be read, or None; a core is a part of its model.
    """
    for folder in sorted(repository.iterdir()):
        if folder.is_dir() and not folder.name.startswith("."):
            try:
                config = config_pbtxt.read_config(folder)
            except RepositoryError as error:
                yield folder.name, error
                continue
            if config is not None and config_pbtxt.read_card(config) is not None:
                yield folder.name, None


def check_version(folders: Folders, version: int) -> None:
    """
    See that a version is whole.

    Args:
        folders: The model.

        version: The version.

    Raises:
        ModelNotFound: If it isn't on disk.

        RepositoryError: If its core is gone.
    """
    on_disk = versions_on_disk(folders.door)
    if version not in on_disk:
        listed = ", ".join(map(str, on_disk)) or "none"
        raise ModelNotFound(f"There is no version {version} of '{folders.name}'. On disk: {listed}.")
    folder = folders.door / str(version)
    manifest = read_manifest(folder) or {}
    needs_core = (folder / CORE_CONFIG).exists() or any(
        path.startswith("core/") for path in manifest.get("files", {})
    )
    if not needs_core:
        return
    if not folders.has_core() or version not in versions_on_disk(folders.core):
        raise RepositoryError(
            f"Version {version} of '{folders.name}' has lost its core: {folders.core / str(version)} or the config "
            f"beside it is missing or not ours. Restore it from a backup, or remove {folder} and export again."
        )


def _move(
    repository: Path, name: str, decide: Callable[[Folders, Release], Release], follower: Follower | None
) -> Moved:
    folders = find_model(repository, name)
    with lock_repository(repository):
        before = _require(read_state(folders))
        edits = find_hand_edits(folders)
        target = decide(folders, before)
        for version in target.versions:
            check_version(folders, version)
        # Also if nothing changes: what a killed move left half-done is completed, and a restarted Triton told.
        move_to(folders, target, follower)
    return Moved(name, before, target, tuple(edits))


def _require(release: Release | None) -> Release:
    if release is None:
        raise ModelNotFound("The model has no versions. Export it first.")
    return release
