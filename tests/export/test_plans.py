"""A plan for one more kind of GPU, added to a published version; TensorRT is a stand-in."""

import hashlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from export import config_pbtxt, pipeline, plans, tensorrt_plan
from export.artifacts import Publication
from export.config_pbtxt import read_config
from export.errors import BadInput, ConversionFailed, GpuNeeded, RepositoryError
from export.options import ExportOptions
from export.plans import add_plan
from export.progress import Progress
from export.targets import find_target
from export.tensorrt_plan import FoundGpu
from tests.export.fake_tensorrt import make_module

CAPABILITIES = {"a100": "8.0", "v100": "7.0"}


@pytest.fixture(name="for_a100", scope="session")
def _for_a100(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Publication:
    """The tiny model, exported for onnxruntime on an A100 in fp16; not to be written to."""
    repository = tmp_path_factory.mktemp("a100") / "repository"
    options = ExportOptions(
        model=str(tiny_model), name="tiny", repository=repository, target="a100", precision="fp16"
    )
    return pipeline.run_export(options, Progress(None))


@pytest.fixture(name="repository")
def _repository(for_a100: Publication, tmp_path: Path) -> Path:
    """A copy of it, to be written to."""
    return Path(shutil.copytree(for_a100.repository, tmp_path / "repository"))


def use_gpu(name: str, monkeypatch: pytest.MonkeyPatch, module: ModuleType | None = None) -> None:
    """Stand in for a machine with this target's GPU and TensorRT."""
    gpu = FoundGpu(f"NVIDIA {name}", CAPABILITIES[name])
    monkeypatch.setattr(tensorrt_plan, "find_gpu", lambda: gpu)
    version = "10.4.0" if name == "v100" else "11.1.0"
    monkeypatch.setitem(sys.modules, "tensorrt", module or make_module(version))


def files_of(folder: Path) -> dict[str, bytes]:
    """Read every file by path, but for the lock."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def test_an_export_for_a_gpu_is_half_and_says_that_nothing_ran_there(for_a100: Publication) -> None:
    """The graph is fp16 and compared on a CPU; door, lengths and marks are the target's."""
    manifest = for_a100.manifest
    assert manifest["graph"]["precision"] == "fp16"
    assert manifest["verified_on"] is None
    assert "nothing ran on A100" in manifest["not_verified"]
    assert manifest["parity"]["min_cosine"] > 0.9999
    settings = json.loads((for_a100.repository / "tiny" / "1" / "door.json").read_text())
    assert settings["grouping"] == {"kind": "edges", "edges": [16, 24]}
    door = read_config(for_a100.repository / "tiny")
    assert door.instance_group[0].kind == 2  # KIND_CPU


def test_the_first_plan_makes_tensorrt_the_engine(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph stays, the plan lies beside it, config and manifest name it."""
    use_gpu("a100", monkeypatch)
    added = add_plan(repository, "tiny", find_target("a100"), Progress(None))
    assert (added.versions, added.file) == ((1,), "sm_80.plan")
    core = read_config(repository / "tiny_core")
    assert core.backend == "tensorrt"
    assert dict(core.cc_model_filenames) == {"8.0": "sm_80.plan"}
    assert list(core.instance_group[0].profile) == ["0", "1"]
    assert (repository / "tiny_core" / "1" / "model.onnx").exists()
    plan = (repository / "tiny_core" / "1" / "sm_80.plan").read_bytes()
    manifest = json.loads((repository / "tiny" / "1" / "manifest.json").read_text())
    assert manifest["files"]["core/sm_80.plan"] == hashlib.sha256(plan).hexdigest()
    assert manifest["plans"]["sm_80.plan"] == {"gpu": "NVIDIA a100", "tensorrt": "11"}


def test_one_repository_holds_plans_of_two_gpus(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A V100's plan joins an A100's in the same version, and repeating it changes nothing."""
    for name in ("a100", "v100"):
        use_gpu(name, monkeypatch)
        add_plan(repository, "tiny", find_target(name), Progress(None))
    core = read_config(repository / "tiny_core")
    assert dict(core.cc_model_filenames) == {"7.0": "sm_70.plan", "8.0": "sm_80.plan"}
    assert config_pbtxt.served_versions(core) == [1]
    once = files_of(repository)
    add_plan(repository, "tiny", find_target("v100"), Progress(None))
    assert files_of(repository) == once


@pytest.mark.parametrize("step", ["_write", "_record", "replace_file"])
def test_a_kill_at_any_step_leaves_a_repository_that_works(
    repository: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The config is the old one or the new one with its plan there; and repeating completes it."""
    use_gpu("a100", monkeypatch)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(plans, step, killed)
        with pytest.raises(KeyboardInterrupt):
            add_plan(repository, "tiny", find_target("a100"), Progress(None))
    core = read_config(repository / "tiny_core")
    for file in core.cc_model_filenames.values():
        assert (repository / "tiny_core" / "1" / file).exists()
    assert core.backend == "onnxruntime"
    add_plan(repository, "tiny", find_target("a100"), Progress(None))
    assert read_config(repository / "tiny_core").backend == "tensorrt"


def test_a_failed_build_changes_nothing(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What TensorRT can't build leaves every file as it was."""
    use_gpu("a100", monkeypatch, make_module(rejects="unsupported node"))
    before = files_of(repository)
    with pytest.raises(ConversionFailed, match="unsupported node"):
        add_plan(repository, "tiny", find_target("a100"), Progress(None))
    assert files_of(repository) == before


def test_what_has_no_plan_is_refused(
    repository: Path, published: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown model, one that was exported for a CPU, a CPU as target, and a missing graph: each in a sentence."""
    use_gpu("a100", monkeypatch)
    a100 = find_target("a100")
    with pytest.raises(BadInput, match="no model 'other' with a core"):
        add_plan(repository, "other", a100, Progress(None))
    with pytest.raises(BadInput, match="was exported for a CPU"):
        add_plan(published.repository, "tiny", a100, Progress(None))
    with pytest.raises(BadInput, match="A plan is for a GPU"):
        add_plan(repository, "tiny", find_target("cpu"), Progress(None))
    (repository / "tiny_core" / "1" / "model.onnx").unlink()
    with pytest.raises(RepositoryError, match="is missing, and plans are built from it"):
        add_plan(repository, "tiny", a100, Progress(None))


def test_an_export_to_tensorrt_builds_its_plan(
    options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the GPU, one command converts, compares, builds and publishes."""
    use_gpu("a100", monkeypatch)
    wanted = replace(options, target="a100", engine="tensorrt", precision="fp16")
    pipeline.run_export(wanted, Progress(None))
    core = read_config(options.repository / "tiny_core")
    assert core.backend == "tensorrt"
    assert (options.repository / "tiny_core" / "1" / "sm_80.plan").read_bytes() == b"plan of 11.1.0"


def test_an_export_to_tensorrt_without_the_gpu_says_what_to_run(
    options: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is converted first, and the command to repeat is the one that was given."""
    monkeypatch.setattr(tensorrt_plan, "find_gpu", lambda: None)
    wanted = replace(options, target="v100", engine="tensorrt", precision="fp16")
    with pytest.raises(GpuNeeded, match=r"run: triton-export export .* --target v100 --engine tensorrt"):
        pipeline.run_export(wanted, Progress(None))
    assert not options.repository.exists()
