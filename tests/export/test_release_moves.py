"""Canary, promote, rollback and prune over files: killed, repeated, run at once, followed, and refused."""

import itertools
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export import config_pbtxt
from export.disk import versions_on_disk
from export.errors import BadInput, FollowFailed, ModelNotFound, RepositoryError
from export.release_moves import Moved, promote, prune, rollback, start_canary
from export.release_state import Release
from tests.export.release_repository import (
    CORE_NAME,
    NAME,
    Killed,
    assert_consistent,
    assert_settled,
    die_at,
    leftovers,
    publish_text,
    state,
)


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    """Version 1 is stable, version 2 a candidate."""
    repository = tmp_path / "repository"
    publish_text(repository)
    publish_text(repository, is_candidate=True)
    return repository


class ToyTriton:
    """Serves a repository as Triton does when told to; can't load a version whose files say "broken"."""

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.served: dict[str, Any] = {}
        self.loads: list[tuple[str, list[int]]] = []
        self.stables: list[set[int]] = []
        for name in (CORE_NAME, NAME):
            if (repository / name).exists():
                self.served[name] = config_pbtxt.read_config(repository / name)

    def check(self) -> None:
        """Agree."""

    def serves(self, config: Any) -> bool:
        """Compare with what was loaded."""
        return bool(self.served.get(config.name) == config)

    def load(self, config: Any) -> None:
        """Read what is on disk now."""
        found = config_pbtxt.read_config(self.repository / config.name)
        assert found == config
        versions = config_pbtxt.served_versions(found)
        self.loads.append((config.name, versions))
        for version in versions:
            if (self.repository / config.name / str(version) / "content").read_text() == "broken":
                raise FollowFailed(f"{config.name} {version} is broken.")
        self.served[config.name] = found
        if NAME in self.served and CORE_NAME in self.served:
            doors, cores = (
                set(config_pbtxt.served_versions(self.served[name])) for name in (NAME, CORE_NAME)
            )
            assert doors <= cores
            self.stables.append(doors)

    def unload(self, name: str) -> None:
        """Forget it."""
        self.served.pop(name, None)

    def settle(self) -> None:
        """See that what is about to go isn't in the release any more."""
        card = config_pbtxt.read_card(self.served[NAME])
        assert card is not None
        assert card["release"]["stable"] == state(self.repository).stable


def test_a_candidate_is_only_on_disk(repository: Path) -> None:
    """A candidate changes nothing of what answers; a model's first version is stable all the same."""
    assert state(repository) == Release(1)
    assert versions_on_disk(repository / NAME) == [1, 2]
    first = repository.parent / "first"
    publish_text(first, is_candidate=True)
    assert state(first) == Release(1)


def test_the_way_of_a_version(repository: Path) -> None:
    """Canary, promote and rollback leave exactly the release's versions in both configs."""
    steps: tuple[tuple[Callable[[], Moved], Release], ...] = (
        (lambda: start_canary(repository, NAME, 2, 10), Release(1, 2, 10)),
        (lambda: promote(repository, NAME), Release(2, previous=(1,))),
        (lambda: rollback(repository, NAME), Release(1, rolled_back_from=2)),
    )
    for move, expected in steps:
        moved = move()
        assert moved.is_new
        assert moved.after == state(repository) == expected
        assert_settled(repository)
        assert not move().is_new


def test_a_new_export_ends_a_trial(repository: Path) -> None:
    """An export that isn't a candidate becomes stable at once, and what was stable can be gone back to."""
    start_canary(repository, NAME, 2, 10)
    publish_text(repository)
    assert state(repository) == Release(3, previous=(1,))
    assert_settled(repository)


def test_a_version_brings_its_own_config_back(repository: Path) -> None:
    """Going back to a version also goes back to its config, however it differs."""
    publish_text(repository, dimension=8)
    rollback(repository, NAME)
    config = config_pbtxt.read_config(repository / NAME)
    assert config is not None
    assert list(config.output[0].dims) == [4]
    card = config_pbtxt.read_card(config)
    assert card is not None
    assert card["dimension"] == 4


def test_a_config_edited_by_hand_is_written_anew_and_named(repository: Path) -> None:
    """A move undoes the edit, and says which field of which file it was."""
    config = config_pbtxt.read_config(repository / CORE_NAME)
    assert config is not None
    config.instance_group.add(count=4)
    (repository / CORE_NAME / config_pbtxt.CONFIG_FILE).write_text(config_pbtxt.to_text(config))
    moved = start_canary(repository, NAME, 2, 10)
    (edit,) = moved.undone
    assert edit.startswith("'instance_group' in ")
    assert start_canary(repository, NAME, 2, 10).undone == ()


def test_versions_that_differ_are_not_served_side_by_side(repository: Path) -> None:
    """A canary with vectors of another length, or other labels, is refused before anything is changed."""
    publish_text(repository, dimension=8, is_candidate=True)
    publish_text(repository, labels=("cat", "dog"), is_candidate=True)
    for version, field in ((3, "'output' of their door.config.pbtxt"), (4, "'labels' of their model card")):
        with pytest.raises(BadInput, match=field):
            start_canary(repository, NAME, version, 10)
    assert state(repository) == Release(1)
    assert_settled(repository)


def test_a_generator_has_no_core(tmp_path: Path) -> None:
    """Every move works on a model of one folder."""
    for _ in range(2):
        publish_text(tmp_path, has_core=False)
    publish_text(tmp_path, has_core=False, is_candidate=True)
    start_canary(tmp_path, NAME, 3, 10)
    promote(tmp_path, NAME)
    rollback(tmp_path, NAME)
    assert prune(tmp_path, NAME, keep=1) == [1]
    assert state(tmp_path) == Release(2, rolled_back_from=3)
    assert not (tmp_path / CORE_NAME).exists()


MOVES: dict[str, tuple[Release, Callable[[Path], object]]] = {
    "canary": (Release(2, previous=(1,)), lambda repository: start_canary(repository, NAME, 3, 10)),
    "promote": (Release(2, 3, 10, (1,)), lambda repository: promote(repository, NAME)),
    "rollback": (Release(2, previous=(1,)), lambda repository: rollback(repository, NAME)),
    "drop": (Release(2, 3, 10, (1,)), lambda repository: rollback(repository, NAME)),
    "prune": (Release(2, previous=(1,)), lambda repository: prune(repository, NAME, keep=1)),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_move_killed_at_any_step_leaves_the_old_release_or_the_new_one(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each fsync and rename: no mixture is ever on disk, and the same command does what is left."""
    start, move = MOVES[name]
    template = tmp_path / "template"
    for _ in range(2):
        publish_text(template)
    publish_text(template, is_candidate=True)
    if start.canary is not None:
        start_canary(template, NAME, start.canary, start.canary_percent)
    done = tmp_path / "done"
    shutil.copytree(template, done)
    move(done)

    for step in itertools.count():
        repository = tmp_path / str(step) / "repository"
        shutil.copytree(template, repository)
        is_killed = False
        with monkeypatch.context() as patch:
            die_at(step, patch)
            try:
                move(repository)
            except Killed:
                is_killed = True
        assert_consistent(repository)
        assert state(repository) in {start, state(done)}
        move(repository)
        assert state(repository) == state(done)
        assert_settled(repository)
        assert versions_on_disk(repository / NAME) == versions_on_disk(done / NAME)
        assert leftovers(repository) == []
        if not is_killed:
            assert step >= 4
            return


def move_often(repository: Path, move: str) -> None:
    """Do one move a few times."""
    for _ in range(5):
        MOVES[move][1](repository)


def test_moves_at_once_do_not_mix(repository: Path) -> None:
    """Two people who promote and roll back at the same time leave one of both releases, whole."""
    publish_text(repository, is_candidate=True)
    start_canary(repository, NAME, 3, 10)
    context = multiprocessing.get_context("spawn")
    movers = [context.Process(target=move_often, args=(repository, move)) for move in ("promote", "rollback")]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join(60)
    assert [mover.exitcode for mover in movers] == [0, 0]
    assert state(repository) == Release(1, rolled_back_from=3)
    assert_settled(repository)


def test_prune_keeps_what_may_be_needed(tmp_path: Path) -> None:
    """Kept: stable and those before it, the canary, and what is newer than stable; gone: the rest, in both models."""
    for _ in range(5):
        publish_text(tmp_path)
    publish_text(tmp_path, is_candidate=True)
    assert prune(tmp_path, NAME, keep=3) == [1, 2]
    assert versions_on_disk(tmp_path / NAME) == versions_on_disk(tmp_path / CORE_NAME) == [3, 4, 5, 6]
    assert prune(tmp_path, NAME, keep=3) == []
    assert state(tmp_path).previous == (4, 3)
    assert_settled(tmp_path)
    with pytest.raises(BadInput, match="at least 1"):
        prune(tmp_path, NAME, keep=0)


def test_a_running_triton_follows_edit_by_edit(repository: Path) -> None:
    """It is never told of a door without its core, and always serves the stable version."""
    triton = ToyTriton(repository)
    start_canary(repository, NAME, 2, 10, triton)
    assert triton.loads == [(CORE_NAME, [1, 2]), (NAME, [1, 2])]
    promote(repository, NAME, triton)
    assert triton.loads[2:] == [(NAME, [1, 2]), (NAME, [2]), (CORE_NAME, [2])]
    rollback(repository, NAME, follower=triton)
    assert triton.loads[5:] == [(CORE_NAME, [1, 2]), (NAME, [1, 2]), (NAME, [1]), (CORE_NAME, [1])]
    loads = len(triton.loads)
    rollback(repository, NAME, follower=triton)
    assert len(triton.loads) == loads


def test_a_triton_that_missed_a_move_is_told_by_the_next(repository: Path) -> None:
    """A move whose files are in place already still makes a server follow that doesn't serve them."""
    triton = ToyTriton(repository)
    start_canary(repository, NAME, 2, 10)
    assert not start_canary(repository, NAME, 2, 10, triton).is_new
    assert triton.loads == [(CORE_NAME, [1, 2]), (NAME, [1, 2])]


@pytest.mark.parametrize("part", [NAME, CORE_NAME])
def test_a_version_that_can_not_be_loaded_leaves_the_release_as_it_was(repository: Path, part: str) -> None:
    """Files and server are what they were, and the message says so."""
    (repository / part / "2" / "content").write_text("broken")
    triton = ToyTriton(repository)
    before = dict(triton.served)
    with pytest.raises(FollowFailed, match=r"is broken\. The release is as it was"):
        start_canary(repository, NAME, 2, 10, triton)
    assert triton.served == before
    assert state(repository) == Release(1)
    assert_settled(repository)


def test_a_broken_first_version_leaves_nothing(tmp_path: Path) -> None:
    """A model whose first version can't be loaded isn't there, on disk or in the server."""
    repository = tmp_path / "repository"
    repository.mkdir()
    triton = ToyTriton(repository)
    with pytest.raises(FollowFailed, match="Nothing was published"):
        publish_text(repository, "broken", follower=triton)
    assert [path.name for path in repository.iterdir() if path.is_dir()] == []
    assert triton.served == {}
    assert publish_text(repository, follower=triton) == 1


def test_a_broken_later_version_stays_a_candidate(repository: Path) -> None:
    """An export that a running server can't load is on disk and doesn't answer."""
    triton = ToyTriton(repository)
    with pytest.raises(FollowFailed, match="as it was"):
        publish_text(repository, "broken", follower=triton)
    assert state(repository) == Release(1)
    assert_consistent(repository)


@pytest.mark.parametrize("name", ["../x", "Tiny", "a b", ""])
def test_a_name_that_can_not_be_is_refused(repository: Path, name: str) -> None:
    """No path, no space, no capital reaches the file system."""
    with pytest.raises(BadInput, match="can't be a model name"):
        promote(repository, name)


def test_what_is_not_there_is_named(repository: Path, tmp_path: Path) -> None:
    """A model, a version or a repository that doesn't exist: the sentence says what does."""
    with pytest.raises(ModelNotFound, match="Models: tiny"):
        promote(repository, "other")
    with pytest.raises(ModelNotFound, match="On disk: 1, 2"):
        start_canary(repository, NAME, 9, 10)
    with pytest.raises(ModelNotFound, match="no model repository"):
        promote(tmp_path / "nowhere", NAME)
    assert state(repository) == Release(1)


@pytest.mark.parametrize("lost", ["2", config_pbtxt.CONFIG_FILE])
def test_a_lost_core_is_found_before_anything_is_changed(repository: Path, lost: str) -> None:
    """A repository from which somebody removed a core's version, or its config, is refused in words."""
    path = repository / CORE_NAME / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(RepositoryError, match="lost its core"):
        start_canary(repository, NAME, 2, 10)
    assert state(repository) == Release(1)


def test_a_strangers_model_is_not_moved(tmp_path: Path) -> None:
    """A model that the export didn't write stays as it is."""
    (tmp_path / NAME / "1").mkdir(parents=True)
    (tmp_path / NAME / config_pbtxt.CONFIG_FILE).write_text('backend: "python"')
    with pytest.raises(RepositoryError, match="didn't write"):
        promote(tmp_path, NAME)
