"""The repository on disk: each way in which it breaks is told with its remedy."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from facade.doctor.repository import examine_repository
from tests.facade.doctor.small_repository import write_config, write_repository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from facade.doctor.finding import Finding


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    """A whole repository."""
    return write_repository(tmp_path)


def find(repository: Path, name: str = "minilm", *, is_deep: bool = False) -> Finding:
    """Give the one finding about a model."""
    findings = [one for one in examine_repository(repository, is_deep=is_deep).findings if one.check == name]
    assert len(findings) == 1
    return findings[0]


def test_a_whole_model_is_told_in_a_line(repository: Path) -> None:
    """Its task, what is stable, how many files were looked at; the core belongs to it."""
    found = find(repository, is_deep=True)

    assert (found.status, found.found) == ("ok", "embedding, stable 1; 3 files hashed")
    assert "the core of minilm" in find(repository, "minilm_core").found
    assert set(examine_repository(repository, is_deep=False).models) == {"minilm", "minilm_core"}


def _break_config(repository: Path) -> None:
    (repository / "minilm/config.pbtxt").write_text('name: "minilm"\nbackend "python"')


def _rename(repository: Path) -> None:
    (repository / "minilm/config.pbtxt").write_text('name: "other"\nbackend: "python"')


def _break_card(repository: Path) -> None:
    write_config(repository / "minilm", backend="python", card={"dimension": "many"})


def _remove_version(repository: Path) -> None:
    (repository / "minilm/1").rename(repository / "minilm/2")


def _name_other_release(repository: Path) -> None:
    (repository / "minilm/2").mkdir()
    card = {"task": "embedding", "release": {"stable": 2}}
    write_config(repository / "minilm", backend="python", card=card, versions="1")


def _empty_file(repository: Path) -> None:
    (repository / "minilm_core/1/model.onnx").write_bytes(b"")


@pytest.mark.parametrize(
    ("breaks", "found", "remedy"),
    [
        (lambda repository: (repository / "minilm/config.pbtxt").unlink(), "has no config.pbtxt", "remove"),
        (_break_config, "config.pbtxt can't be parsed: 2:9", "door.config.pbtxt"),
        (_rename, "called 'other'", "the same"),
        (_break_card, "model_card can't be read", "Export it again"),
        (_remove_version, "version 1, which isn't on disk", "triton-export show minilm"),
        (_name_other_release, "leaves out what its card's release names", "repeat"),
        (lambda repository: shutil.rmtree(repository / "minilm/1"), "no version folder", "Export it again"),
        (
            lambda repository: shutil.rmtree(repository / "minilm_core"),
            "needs the model minilm_core",
            "every request",
        ),
        (
            lambda repository: (repository / "minilm/1/model.py").unlink(),
            "door/model.py is missing",
            "rollback minilm",
        ),
        (_empty_file, "core/model.onnx is empty", "rollback minilm"),
    ],
)
def test_what_is_broken_is_a_problem_with_a_remedy(
    repository: Path, breaks: Callable[[Path], object], found: str, remedy: str
) -> None:
    """The line names the file, and what to do is in it."""
    breaks(repository)
    problems = [
        one for one in examine_repository(repository, is_deep=False).findings
        if one.check == "minilm" and one.status == "problem"
    ]  # fmt: skip

    assert len(problems) == 1
    assert found in problems[0].found
    assert remedy in problems[0].remedy


def test_a_changed_file_is_found_by_its_hash_alone(repository: Path) -> None:
    """--deep reads what is in the files."""
    (repository / "minilm_core/1/model.onnx").write_bytes(b"a grapH")

    assert find(repository).status == "ok"
    assert "core/model.onnx isn't what was exported" in find(repository, is_deep=True).found


def test_a_version_without_manifest_is_a_warning(repository: Path) -> None:
    """It may work; nobody can say."""
    (repository / "minilm/1/manifest.json").unlink()

    assert find(repository).status == "warning"


def test_foreign_models_and_hidden_folders_are_told_apart(repository: Path) -> None:
    """The first is fine, the second is taken for a model by Triton."""
    (repository / "other/1").mkdir(parents=True)
    (repository / "other/config.pbtxt").write_text('backend: "python"')
    (repository / ".staging-1").mkdir()

    assert "on /v2 only" in find(repository, "other").found
    assert find(repository, ".staging-1").status == "warning"


def test_no_repository_and_an_empty_one_say_what_to_do(tmp_path: Path) -> None:
    """A path that isn't there, and one without models."""
    absent = examine_repository(tmp_path / "absent", is_deep=False).findings
    empty = examine_repository(tmp_path, is_deep=False).findings

    assert (absent[0].status, "--repository" in absent[0].remedy) == ("problem", True)
    assert (empty[0].status, "triton-export export" in empty[0].remedy) == ("warning", True)
