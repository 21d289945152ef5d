"""The repository on disk: publishing, numbering, the lock, and death at every step."""

import itertools
import multiprocessing
import os
import subprocess
import sys
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import pytest

from export import config_pbtxt, releases
from export.disk import versions_on_disk
from export.errors import RepositoryError
from tests.export.release_repository import (
    CORE_NAME,
    NAME,
    Killed,
    assert_consistent,
    assert_settled,
    die_at,
    leftovers,
    publish_text,
)

KILLED = 86


def test_versions_count_up(tmp_path: Path) -> None:
    """Each publishing makes the next version stable and keeps the older ones on disk."""
    repository = tmp_path / "repository"
    assert [publish_text(repository, text) for text in "ab"] == [1, 2]
    assert releases.stable_version(repository, "tiny") == 2
    assert versions_on_disk(repository / "tiny") == [1, 2]
    assert (repository / "tiny_core" / "1" / "content").read_text() == "a"
    for name in (NAME, CORE_NAME):
        config = config_pbtxt.read_config(repository / name)
        assert config_pbtxt.served_versions(config) == [2]
    assert_consistent(repository)
    assert leftovers(repository) == []


def test_others_may_read_what_is_published(tmp_path: Path) -> None:
    """Published folders have the process's usual permissions, so that Triton may run as another user."""
    repository = tmp_path / "repository"
    publish_text(repository, "a")
    usual = tmp_path / "usual"
    usual.mkdir()
    for folder in (repository / "tiny", repository / "tiny" / "1", repository / "tiny_core"):
        assert folder.stat().st_mode == usual.stat().st_mode


@pytest.mark.parametrize("earlier", [0, 1])
def test_death_at_any_step_leaves_a_release_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, earlier: int
) -> None:
    """Ended before any fsync or rename, publishing leaves the old release or the new, and the next one succeeds."""
    for step in itertools.count():
        repository = tmp_path / f"at-{step}" / "repository"
        for _ in range(earlier):
            publish_text(repository, "old")
        is_killed = False
        with monkeypatch.context() as patch:
            die_at(step, patch)
            try:
                publish_text(repository, "new")
            except Killed:
                is_killed = True
        assert_consistent(repository)
        new = publish_text(repository, "next")
        assert_consistent(repository)
        assert releases.stable_version(repository, "tiny") == new
        assert leftovers(repository) == []
        assert versions_on_disk(repository / "tiny_core") == versions_on_disk(repository / "tiny")
        if not is_killed:
            assert step >= 5  # as many renames as a publishing has at least
            return


@pytest.mark.parametrize("step", [0, 1, 3])
def test_a_process_killed_in_the_middle_leaves_nothing_for_long(tmp_path: Path, step: int) -> None:
    """What a killed process can't clean up, its staging folder too, the next publishing removes."""
    repository = tmp_path / "repository"
    publish_text(repository, "old")
    command = [sys.executable, "-m", "tests.export.test_releases", str(repository), str(step)]
    assert subprocess.run(command, check=False, timeout=60).returncode == KILLED
    assert leftovers(repository) != []
    assert_consistent(repository)
    publish_text(repository, "next")
    assert leftovers(repository) == []
    assert_settled(repository)


def die(argv: list[str]) -> None:
    """Publish in this process, and end it without a word just before the rename of the given number."""
    remaining = int(argv[2])

    def count_renames(event: str, _: tuple[Any, ...]) -> None:
        nonlocal remaining
        if event == "os.rename":
            if remaining == 0:
                os._exit(KILLED)
            remaining -= 1

    sys.addaudithook(count_renames)
    publish_text(Path(argv[1]), "new")


def test_a_living_export_keeps_its_staging_folder(tmp_path: Path) -> None:
    """Cleaning up after the dead doesn't touch a folder whose export still runs."""
    repository = tmp_path / "repository"
    releases.open_repository(repository)
    with releases.staging_folder(repository) as first:
        with releases.staging_folder(repository):
            assert first.is_dir()
        assert first.is_dir()
    assert leftovers(repository) == []


def hold_lock(repository: Path, is_held: Event, may_end: Event) -> None:
    """Hold the repository's lock until told to end."""
    with releases.lock_repository(repository):
        is_held.set()
        may_end.wait(30)


def test_a_held_lock_is_told_and_then_freed(tmp_path: Path) -> None:
    """While another process publishes a second one waits, then says so; when the other ends it goes on."""
    context = multiprocessing.get_context("spawn")
    is_held, may_end = context.Event(), context.Event()
    holder = context.Process(target=hold_lock, args=(tmp_path, is_held, may_end))
    holder.start()
    try:
        assert is_held.wait(30)
        with (
            pytest.raises(RepositoryError, match="Another triton-export"),
            releases.lock_repository(tmp_path, timeout_s=0.2),
        ):
            pass
        may_end.set()
        with releases.lock_repository(tmp_path, timeout_s=30):
            pass
    finally:
        may_end.set()
        holder.join(30)


def publish_several(repository: Path, count: int) -> None:
    """Publish a few versions, one after the other."""
    for _ in range(count):
        publish_text(repository, "x")


def test_exports_at_once_get_versions_of_their_own(tmp_path: Path) -> None:
    """Three processes that publish at the same time lose no version and mix none."""
    repository = tmp_path / "repository"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=publish_several, args=(repository, 3)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert versions_on_disk(repository / "tiny") == list(range(1, 10))
    assert releases.stable_version(repository, "tiny") == 9
    assert_consistent(repository)


def test_a_strangers_model_is_not_touched(tmp_path: Path) -> None:
    """A door or a core of that name that the export didn't write stays as it is."""
    for name in (NAME, CORE_NAME):
        repository = tmp_path / name / "repository"
        (repository / name / "1").mkdir(parents=True)
        config = repository / name / config_pbtxt.CONFIG_FILE
        config.write_text('backend: "python"')
        with pytest.raises(RepositoryError, match="didn't write"):
            publish_text(repository, "a")
        assert config.read_text() == 'backend: "python"'


def test_a_broken_config_is_named(tmp_path: Path) -> None:
    """A config that someone edited into nonsense stops the publishing with the file's name."""
    publish_text(tmp_path / "repository", "a")
    config = tmp_path / "repository" / "tiny" / config_pbtxt.CONFIG_FILE
    config.write_text("max_batch_size: many")
    with pytest.raises(RepositoryError, match=r"config\.pbtxt can't be read"):
        publish_text(tmp_path / "repository", "b")


def test_versions_without_a_config_are_refused(tmp_path: Path) -> None:
    """A model folder that lost its config isn't taken for a new model."""
    publish_text(tmp_path / "repository", "a")
    (tmp_path / "repository" / "tiny" / config_pbtxt.CONFIG_FILE).unlink()
    with pytest.raises(RepositoryError, match="Restore the file"):
        publish_text(tmp_path / "repository", "b")


def test_a_repository_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A path that can't be a folder is a repository error, not a traceback."""
    (tmp_path / "file").write_text("")
    with pytest.raises(RepositoryError, match="can't be written"):
        releases.open_repository(tmp_path / "file" / "repository")


def test_only_version_folders_count(tmp_path: Path) -> None:
    """Files and folders that Triton ignores are no versions."""
    for name in ("1", "12", "03", "0", "draft", "-1"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("")
    assert versions_on_disk(tmp_path) == [1, 12]


if __name__ == "__main__":
    die(sys.argv)
