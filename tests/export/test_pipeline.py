"""A whole export, and the ones that end early."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from export import parity, pipeline
from export.artifacts import Publication
from export.errors import BadInput, ExtraMissing, ModelNotFound, ParityFailed
from export.options import ExportOptions
from export.progress import Progress
from export.tolerances import Tolerance
from tests.export.tiny_model import make_tiny_classifier


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file of a repository but its lock, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_an_equal_export_can_be_skipped(
    published: Publication, options: ExportOptions, tmp_path: Path
) -> None:
    """With skip_existing nothing is made again; without it a second version becomes stable."""
    shutil.copytree(published.repository, options.repository)
    skipped = pipeline.run_export(replace(options, skip_existing=True), Progress(None))
    assert (skipped.version, skipped.is_new) == (1, False)
    again = pipeline.run_export(options, Progress(None))
    assert (again.version, again.is_new) == (2, True)
    assert again.manifest["recipe"] == published.manifest["recipe"]
    assert again.manifest["files"]["core/model.onnx"] == published.manifest["files"]["core/model.onnx"]


@pytest.mark.parametrize("spoil", ["recipe", "tools", None])
def test_an_outdated_version_is_not_skipped(
    published: Publication, options: ExportOptions, monkeypatch: pytest.MonkeyPatch, spoil: str | None
) -> None:
    """A version of another source, of other tools or without manifest is made again."""
    shutil.copytree(published.repository, options.repository)
    path = options.repository / "tiny" / "1" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {spoil: {}}) if spoil else "")

    def made_again(*_: object) -> None:
        raise ParityFailed("made again")

    monkeypatch.setattr(pipeline, "_make", made_again)
    with pytest.raises(ParityFailed, match="made again"):
        pipeline.run_export(replace(options, skip_existing=True), Progress(None))


@pytest.mark.parametrize("is_candidate", [False, True])
def test_a_name_keeps_its_task(
    published: Publication, options: ExportOptions, tmp_path: Path, *, is_candidate: bool
) -> None:
    """A classifier isn't published over an embedder, not even on trial: nothing is converted, nothing changes."""
    shutil.copytree(published.repository, options.repository)
    before = files_of(options.repository)
    make_tiny_classifier(tmp_path / "classifier", num_labels=2)
    wrong = replace(options, model=str(tmp_path / "classifier"), candidate=is_candidate)
    with pytest.raises(BadInput, match=r"tiny is for embedding \(version 1\).*Choose another --name"):
        pipeline.run_export(wrong, Progress(None))
    assert files_of(options.repository) == before


def test_nothing_is_published_when_parity_fails(
    published: Publication, options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tolerance that can't be met leaves every file of the repository as it was, and no staging folder."""
    shutil.copytree(published.repository, options.repository)
    before = files_of(options.repository)
    impossible = {("embedding", "fp32"): Tolerance({"min_cosine": 1.01}, "can't be met")}
    monkeypatch.setattr(parity, "TOLERANCES", impossible)
    with pytest.raises(ParityFailed):
        pipeline.run_export(options, Progress(None))
    assert files_of(options.repository) == before
    assert [path.name for path in options.repository.parent.iterdir()] == ["repository"]


def test_wrong_requests_end_before_the_repository_is_made(options: ExportOptions) -> None:
    """A missing model or an unknown target leaves no folder behind."""
    with pytest.raises(ModelNotFound):
        pipeline.run_export(replace(options, model="/no/such/model"), Progress(None))
    with pytest.raises(BadInput):
        pipeline.run_export(replace(options, target="a1000"), Progress(None))
    assert not options.repository.exists()


def test_a_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the converters the message names them and the command that installs them."""
    monkeypatch.setattr(pipeline, "EXTRA_PACKAGES", ("json", "no_such_package"))
    with pytest.raises(
        ExtraMissing, match=r"Missing: no_such_package\. .*pip install 'triton-facade\[export\]'"
    ):
        pipeline.require_extra()


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a file system of 64 KiB on a folder, or skip the test if this user can't."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"needs root to mount a small disk: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_in_a_sentence(options: ExportOptions, tmp_path: Path) -> None:
    """An export that fills the disk ends with code 5, and leaves nothing half-written."""
    disk = tmp_path / "disk"
    disk.mkdir()
    with small_disk(disk):
        repository = str(disk / "repository")
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "export",
                "export",
                options.model,
                "--name",
                "tiny",
                "--repository",
                repository,
            ],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (disk / "repository").is_dir()
        assert [path.name for path in disk.iterdir()] == ["repository"]
        assert [path.name for path in (disk / "repository").iterdir()] == [".lock"]
    assert ended.returncode == 5, ended.stderr
    assert "No space left" in ended.stderr
    assert "Traceback" not in ended.stderr
