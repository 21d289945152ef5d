"""What can be read of a repository: models, versions, changed files, differences, and the parity measured again."""

import shutil
from pathlib import Path

import pytest

from export.artifacts import Publication
from export.errors import BadInput, FilesChanged, ModelNotFound, RepositoryError
from export.inspection import check_files, compare_versions, list_models, show_model
from export.recheck import compare_again
from export.release_moves import rollback, start_canary
from export.transition import DOOR_CONFIG
from tests.export.release_repository import NAME, publish_text


@pytest.fixture(name="exported")
def _exported(published: Publication, tmp_path: Path) -> Path:
    """A copy of a repository with the tiny model, exported."""
    shutil.copytree(published.repository, tmp_path / "repository")
    return tmp_path / "repository"


def test_models_are_listed_without_their_cores(exported: Path) -> None:
    """One row a model, with its task, release and versions."""
    (exported / "strangers").mkdir()
    assert list_models(exported) == [
        {"name": "tiny", "task": "embedding", "release": {"stable": 1}, "versions": [1]}
    ]
    with pytest.raises(ModelNotFound, match="no model repository"):
        list_models(exported / "nowhere")


def test_versions_are_shown_with_their_roles(tmp_path: Path) -> None:
    """Stable, canary, previous and candidate, the newest first."""
    for _ in range(2):
        publish_text(tmp_path)
    for _ in range(2):
        publish_text(tmp_path, is_candidate=True)
    start_canary(tmp_path, NAME, 3, 10)
    release, versions = show_model(tmp_path, NAME)
    assert release.canary == 3
    assert [(facts.version, facts.role) for facts in versions] == [
        (4, "candidate"),
        (3, "canary"),
        (2, "stable"),
        (1, "previous"),
    ]


def test_an_export_is_shown_with_its_provenance(exported: Path) -> None:
    """Size, recipe and parity come from the files and the manifest."""
    _, (facts,) = show_model(exported, "tiny")
    shown = facts.to_json()
    assert shown["bytes"] > 10_000
    assert shown["recipe"]["precision"] == "fp32"
    assert shown["parity"]["measure"] == "cosine"


def test_files_are_what_was_exported_until_somebody_edits_one(exported: Path) -> None:
    """A changed, a missing and a strange file are each named; what Triton leaves behind isn't strange."""
    (exported / "tiny" / "1" / "__pycache__").mkdir()
    (exported / "tiny" / "1" / "__pycache__" / "model.pyc").write_text("")
    assert check_files(exported, "tiny", 1) > 5
    (exported / "tiny" / "1" / "tokenizer.json").write_text("{}")
    (exported / "tiny_core" / "1" / "model.onnx").unlink()
    (exported / "tiny" / "1" / "notes").write_text("")
    with pytest.raises(FilesChanged) as failure:
        check_files(exported, "tiny", 1)
    for said in (
        "door/tokenizer.json has changed",
        "core/model.onnx is missing",
        "door/notes doesn't belong",
    ):
        assert said in str(failure.value)


def test_a_lost_core_or_manifest_is_said(exported: Path) -> None:
    """Without its core a version isn't whole; without its manifest nothing says what is right."""
    manifest = exported / "tiny" / "1" / "manifest.json"
    manifest.rename(exported / "manifest.json")
    with pytest.raises(FilesChanged, match="nothing says what is right"):
        check_files(exported, "tiny", 1)
    (exported / "manifest.json").rename(manifest)
    shutil.rmtree(exported / "tiny_core")
    with pytest.raises(RepositoryError, match="lost its core"):
        check_files(exported, "tiny", 1)


def test_differences_are_named(tmp_path: Path) -> None:
    """Two versions that answer with vectors of different lengths differ in config and size, and not in the rest."""
    publish_text(tmp_path)
    publish_text(tmp_path, "longer", dimension=8)
    found = compare_versions(tmp_path, NAME, 1, 2)
    assert found["door.config.output"][0][0]["dims"] == ["4"]
    assert found["bytes.door/content"] == (1, 6)
    assert compare_versions(tmp_path, NAME, 1, 1) == {}
    with pytest.raises(ModelNotFound, match="no version 7"):
        compare_versions(tmp_path, NAME, 1, 7)


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe", None])
def test_a_versions_own_config_that_was_edited_is_named(tmp_path: Path, content: bytes | None) -> None:
    """Whatever lies in its place, comparing and moving end in a sentence."""
    for _ in range(2):
        publish_text(tmp_path)
    config = tmp_path / NAME / "1" / DOOR_CONFIG
    config.unlink()
    if content is None:
        config.mkdir()
    else:
        config.write_bytes(content)
    with pytest.raises(RepositoryError, match=DOOR_CONFIG):
        compare_versions(tmp_path, NAME, 1, 2)
    with pytest.raises(RepositoryError, match=DOOR_CONFIG):
        rollback(tmp_path, NAME)


def test_parity_is_measured_again_on_the_files_that_are_served(exported: Path, tiny_model: Path) -> None:
    """With the original at hand the whole door is compared once more; another original is refused."""
    report = compare_again(exported, "tiny", 1, str(tiny_model))
    assert report.figures["min_cosine"] > 0.9999
    with pytest.raises(BadInput, match="needs the original"):
        compare_again(exported, "tiny", 1, None)
    other = exported.parent / "other"
    shutil.copytree(tiny_model, other)
    (other / "README.md").write_text("changed")
    with pytest.raises(BadInput, match="its files differ"):
        compare_again(exported, "tiny", 1, str(other))
