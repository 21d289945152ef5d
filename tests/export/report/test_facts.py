"""What is read and timed for a report, on a real export and on toys that can't be timed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from export.artifacts import Publication
from export.errors import BadInput, FilesChanged, GpuNeeded, ModelNotFound
from export.progress import Progress
from export.report.facts import ReportFacts, collect
from export.report.page import render
from tests.export.release_repository import NAME, publish_text


@pytest.fixture(name="exported")
def _exported(published: Publication, tmp_path: Path) -> Path:
    """A copy of a repository with the tiny model, exported."""
    shutil.copytree(published.repository, tmp_path / "repository")
    return tmp_path / "repository"


def read(repository: Path, name: str = "tiny", version: int | None = None, **options: Any) -> ReportFacts:
    """Collect without a word."""
    return collect(repository, name, version, progress=Progress(None), **options)


def edit_manifest(repository: Path, *path: str, value: Any) -> None:
    """Write a value into a manifest, as somebody might by hand."""
    file = repository / "tiny" / "1" / "manifest.json"
    manifest = json.loads(file.read_text())
    inner = manifest
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    file.write_text(json.dumps(manifest))


def test_an_export_is_told_and_timed(exported: Path) -> None:
    """Stable by default; each shape once, none beyond the model's limit."""
    facts = read(exported, is_measured=True)
    assert (facts.version, facts.changed) == (1, None)
    assert set(facts.sizes_bytes) == set(facts.manifest["files"])
    assert "dynamic_batching" in facts.configs["door.config.pbtxt"]
    assert "model_card" not in facts.configs["door.config.pbtxt"]
    (speed,) = facts.measured.values()
    limit = facts.manifest["card"]["max_input_tokens"]
    shapes = [(batch.rows, batch.tokens) for batch in speed.batches]
    assert len(set(shapes)) == len(shapes)
    assert max(tokens for _, tokens in shapes) == limit
    assert "onnxruntime" in facts.measured_on


def test_a_candidate_is_timed_beside_stable(exported: Path) -> None:
    """In turn, so that the ratio means something."""
    for part in ("tiny", "tiny_core"):
        shutil.copytree(exported / part / "1", exported / part / "2")
    facts = read(exported, version=2, is_measured=True)
    assert list(facts.measured) == ["version 2", "version 1, stable"]


def test_a_changed_file_is_told_and_does_not_stop_the_report(exported: Path) -> None:
    """It is the reviewer who has to know."""
    (exported / "tiny" / "1" / "tokenizer.json").write_text("{}")
    facts = read(exported)
    assert facts.changed is not None
    assert "tokenizer.json has changed" in facts.changed
    assert "tokenizer.json has changed" in render(facts)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("precisions",), [1]),
        (("parity", "required_min_cosine"), "much"),
        (("parity", "points"), None),
        (("recipe", "model_id"), {}),
        (("graph", "precision"), None),
        (("tune",), {"target_p99_ms": "soon"}),
        (("created_at",), 3),
        (("files", "../../../etc/passwd"), "0"),
    ],
)
def test_a_manifest_edited_by_hand_ends_in_a_page_or_a_sentence(
    exported: Path, path: tuple[str, ...], value: Any
) -> None:
    """Whatever stands in it."""
    edit_manifest(exported, *path, value=value)
    try:
        page = render(read(exported))
    except FilesChanged as error:
        assert "manifest.json" in str(error)
    else:
        assert page.endswith("</html>\n")


def test_without_a_manifest_there_is_nothing_to_tell(exported: Path) -> None:
    """The message says where it should be."""
    (exported / "tiny" / "1" / "manifest.json").write_text("{")
    with pytest.raises(FilesChanged, match=r"manifest\.json is missing or can't be read"):
        read(exported)


def test_what_is_not_there_is_said(exported: Path, tmp_path: Path) -> None:
    """An unknown model, an unknown version, a name that can't be one, a version without manifest."""
    for arguments, kind in (
        (("nobody",), ModelNotFound),
        (("tiny", 7), ModelNotFound),
        (("../x",), BadInput),
    ):
        with pytest.raises(kind):
            read(exported, *arguments)
    publish_text(tmp_path / "toys")
    with pytest.raises(FilesChanged):
        read(tmp_path / "toys", NAME)


def test_a_cpu_does_not_time_what_a_gpu_will_run(exported: Path) -> None:
    """It would say nothing about the GPU; the message says what to do."""
    edit_manifest(exported, "recipe", "target", value="v100")
    with pytest.raises(GpuNeeded, match="perf_analyzer"):
        read(exported, is_measured=True)
    assert read(exported).measured == {}


def test_a_generator_is_not_timed_batch_by_batch(exported: Path) -> None:
    """A version without a core has no graph of batches."""
    (exported / "tiny" / "1" / "core.config.pbtxt").unlink()
    with pytest.raises(BadInput, match="Leave --measure"):
        read(exported, is_measured=True)


def test_a_lost_graph_is_said(exported: Path) -> None:
    """Timing needs it; the report itself doesn't."""
    (exported / "tiny_core" / "1" / "model.onnx").unlink()
    with pytest.raises(FilesChanged, match="lost its ONNX graph"):
        read(exported, is_measured=True)
    assert read(exported).changed is not None
