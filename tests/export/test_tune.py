"""Tuning with the real Triton: a poor start is left behind, and what can't be tuned is said at once."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.local.triton import CHECKOUT
from export import config_pbtxt, inspection, releases, tensorrt_plan
from export.artifacts import Publication
from export.errors import BadInput, ExportError, GpuNeeded, ModelNotFound
from export.manifest import read_manifest
from export.progress import Progress
from export.release_moves import promote
from export.transition import CORE_CONFIG, DOOR_CONFIG, Folders, read_state
from export.tune import TuneOptions, run_tune
from export.tune_settings import Served, read_served, read_settings, write_settings

needs_triton = pytest.mark.skipif(
    not (CHECKOUT / ".triton" / "backends" / "onnxruntime" / "model.py").exists(),
    reason="Triton is not installed: run `make install`",
)


@pytest.fixture
def folders(published: Publication, tmp_path: Path) -> Folders:
    """The published tiny model, to be written to."""
    return Folders(Path(shutil.copytree(published.repository, tmp_path / "repository")), "tiny")


def rewrite(folders: Folders, change: Callable[[Served], Served]) -> None:
    """Give version 1 other settings, as if it had been exported with them."""
    served = change(read_served(folders, 1))
    version = folders.door / "1"
    (version / DOOR_CONFIG).write_text(config_pbtxt.to_text(served.door_config))
    (version / CORE_CONFIG).write_text(config_pbtxt.to_text(served.core_config))
    (version / "door.json").write_text(json.dumps(served.door_settings))
    promote(folders.repository, folders.name)  # writes the configs that are served


def make_poor(served: Served) -> Served:
    """One instance of each model, and no two requests together."""
    poor = {"door_instances": 1, "core_instances": 1, "max_batch_size": 1}
    return write_settings(served, read_settings(served) | poor)


def put_on_gpu(served: Served) -> Served:
    """Say that the core runs on a GPU."""
    served.core_config.instance_group[0].kind = type(served.core_config.instance_group[0]).KIND_GPU
    return served


def tune(folders: Folders, **options: object) -> object:
    """Tune without progress."""
    asked = {"name": "tiny", "p99_ms": 500.0, "repository": folders.repository, **options}
    return run_tune(TuneOptions(**asked), Progress(None))  # type: ignore[arg-type]


@pytest.mark.e2e
@needs_triton
@pytest.mark.timeout(180)
def test_a_poor_start_is_left_behind(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    From one instance that takes one request at a time, settings at least 1.3 times as fast are found and published.

    The factor is structural: without merged batches each request pays the way through both models alone. On a machine
    that does something else at the same time an attempt may end undecided, and then nothing may be published.
    """
    monkeypatch.chdir(CHECKOUT)
    rewrite(folders, make_poor)
    for attempt in range(3):
        tuned = run_tune(
            TuneOptions("tiny", 500, folders.repository, budget_s=20, seed=attempt), Progress(None)
        )
        if tuned.version is not None:
            break
        assert read_state(folders).versions == (1,)

    assert tuned.version == 2
    assert tuned.ratio >= 1.3
    assert releases.stable_version(folders.repository, "tiny") == 2
    assert read_settings(read_served(folders, 2)) == tuned.settings
    assert inspection.check_files(folders.repository, "tiny", 2) > 0
    manifest = read_manifest(folders.door / "2")
    assert manifest["tune"]["from_version"] == 1
    assert manifest["tune"]["after"]["settings"] == tuned.settings
    assert (folders.core / "2" / "model.onnx").samefile(folders.core / "1" / "model.onnx")
    assert sorted(path.name for path in folders.repository.parent.iterdir()) == ["repository"]


def test_a_generator_has_nothing_to_tune(folders: Folders) -> None:
    """The sentence says why, and what to do instead."""
    config = config_pbtxt.read_config(folders.door)
    card = config_pbtxt.read_card(config) | {"task": "text-generation"}
    config.parameters["model_card"].string_value = json.dumps(card)
    (folders.door / config_pbtxt.CONFIG_FILE).write_text(config_pbtxt.to_text(config))

    with pytest.raises(BadInput, match=r"generates text.*--max-model-len"):
        tune(folders)


def test_a_model_for_a_gpu_is_tuned_where_one_is(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without GPU the command says where to run it."""
    monkeypatch.setattr(tensorrt_plan, "find_gpu", lambda: None)
    rewrite(folders, put_on_gpu)

    with pytest.raises(GpuNeeded, match="on the machine that serves it"):
        tune(folders)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({"name": "other"}, ModelNotFound, "There is no model 'other'.*tiny"),
        ({"p99_ms": 0.0}, BadInput, "--p99-ms must be milliseconds above 0"),
        ({"p99_ms": float("nan")}, BadInput, "--p99-ms must be"),
        ({"traffic": Path("nowhere.jsonl")}, BadInput, "nowhere.jsonl can't be read"),
        ({"tritonserver": "/no/such/program"}, BadInput, "there is no program '/no/such/program'"),
        ({"tritonserver": "false"}, BadInput, "didn't start"),
    ],
)
def test_what_cannot_be_is_refused(
    folders: Folders, options: dict[str, object], kind: type[ExportError], words: str
) -> None:
    """A sentence names what is wrong, and the repository stays as it was."""
    with pytest.raises(kind, match=words):
        tune(folders, **options)

    assert read_state(folders).versions == (1,)
    assert sorted(path.name for path in folders.repository.parent.iterdir()) == ["repository"]


@pytest.mark.e2e
@needs_triton
@pytest.mark.timeout(180)
def test_a_target_that_nothing_meets_is_told(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nearest figure is told, so that the next target can be met; nothing is published."""
    monkeypatch.chdir(CHECKOUT)

    with pytest.raises(BadInput, match=r"kept p99 within 0.01 ms; the nearest was .* ms"):
        tune(folders, p99_ms=0.01, budget_s=4.0)
    assert read_state(folders).versions == (1,)


def test_a_server_that_ends_is_told_with_its_log(folders: Folders) -> None:
    """A command that isn't a tritonserver shows by what it says of a tritonserver's options."""
    with pytest.raises(BadInput, match=r"didn't start.*no options: --model-control-mode=explicit"):
        tune(folders, tritonserver="echo 'no options:'")
