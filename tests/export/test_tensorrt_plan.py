"""Plans: what is asked of TensorRT, and what a machine without it is told. TensorRT itself is a stand-in here."""

import stat
import sys
from pathlib import Path
from types import ModuleType

import pytest

from export import tensorrt_plan
from export.engines import shape_ranges
from export.errors import ConversionFailed, GpuNeeded
from export.profiles import profile_for
from export.targets import find_target
from export.tensorrt_plan import FoundGpu, build_plan, find_gpu, require_builder
from tests.export.fake_tensorrt import make_module
from tests.export.test_engines import TEXT_INPUTS

AGAIN = ["triton-export", "build-plan", "my model", "--target", "a100"]


@pytest.fixture(name="gpu")
def _gpu(monkeypatch: pytest.MonkeyPatch) -> FoundGpu:
    """A machine with an A100."""
    gpu = FoundGpu("NVIDIA A100-SXM4-40GB", "8.0")
    monkeypatch.setattr(tensorrt_plan, "find_gpu", lambda: gpu)
    return gpu


@pytest.fixture(name="tensorrt")
def _tensorrt(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for TensorRT 11."""
    module = make_module()
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    return module


def install_nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a driver's tool that runs a script onto the path."""
    folder.mkdir()
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    tool.chmod(tool.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


@pytest.mark.parametrize(
    ("script", "found"),
    [
        (
            "echo 'NVIDIA A100-SXM4-40GB, 8.0'; echo 'Tesla V100, 7.0'",
            FoundGpu("NVIDIA A100-SXM4-40GB", "8.0"),
        ),
        ("exit 9", None),
        ("true", None),
    ],
)
def test_the_driver_is_asked_for_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: FoundGpu | None
) -> None:
    """The first GPU counts; a driver that fails or knows none is a machine without one."""
    install_nvidia_smi(tmp_path / "bin", script, monkeypatch)
    assert find_gpu() == found


def test_a_machine_without_a_driver_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver's tool there is nothing to ask."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpu() is None


def test_a_machine_that_can_build_is_accepted(gpu: FoundGpu, tensorrt: ModuleType) -> None:
    """The right GPU and the right TensorRT: the work may start."""
    assert require_builder(find_target("a100-1g.5gb"), AGAIN) == gpu


def test_without_a_gpu_the_command_says_what_to_run_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence has the hardware, the software's version and the very command, quoted for a shell."""
    monkeypatch.setattr(tensorrt_plan, "find_gpu", lambda: None)
    with pytest.raises(GpuNeeded) as caught:
        require_builder(find_target("v100"), AGAIN)
    text = str(caught.value)
    assert "there is none here" in text
    assert "tensorrt-cu12==10.4.0" in text
    assert text.endswith("triton-export build-plan 'my model' --target a100")
    assert caught.value.exit_code == 8


def test_another_gpu_is_not_taken(gpu: FoundGpu, tensorrt: ModuleType) -> None:
    """A plan for a V100 can't be built on an A100."""
    with pytest.raises(GpuNeeded, match=r"needs compute capability 7\.0, and this machine's .* has 8\.0"):
        require_builder(find_target("v100"), AGAIN)


def test_a_missing_tensorrt_is_told(gpu: FoundGpu, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU alone isn't enough."""
    monkeypatch.setattr(tensorrt_plan, "TENSORRT", "no_such_module")
    with pytest.raises(GpuNeeded, match=r"Python API isn't installed here\. On a machine with A100"):
        require_builder(find_target("a100"), AGAIN)


def test_a_tensorrt_whose_plans_nobody_reads_is_refused(
    gpu: FoundGpu, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plan is read by the version that built it: another one is told before minutes are spent."""
    monkeypatch.setitem(sys.modules, "tensorrt", make_module("10.4.0"))
    with pytest.raises(
        GpuNeeded, match=r"TensorRT 10\.4\.0 is installed here, and .*26\.07-py3 reads plans of 11"
    ):
        require_builder(find_target("a100"), AGAIN)


def test_a_plan_has_a_profile_for_each_range(tensorrt: ModuleType, tmp_path: Path) -> None:
    """The network is strongly typed; every range, the workspace and the timing cache reach the builder."""
    ranges = shape_ranges(TEXT_INPUTS, profile_for("a100").fit(64))
    cache = tmp_path / "timing.cache"
    cache.write_bytes(b"earlier")
    plan = build_plan(tmp_path / "model.onnx", ranges, 2**30, cache)
    assert plan == b"plan of 11.1.0"
    asked = tensorrt.asked
    assert asked.flags == 1 << 1
    assert asked.workspace == ("workspace", 2**30)
    assert asked.graph == tmp_path / "model.onnx"
    assert asked.profiles[0] == [
        ("input_ids", (1, 1), (32, 16), (128, 16)),
        ("attention_mask", (1, 1), (32, 16), (128, 16)),
    ]
    assert len(asked.profiles) == 3
    assert asked.timing == b"earlier"
    assert cache.read_bytes() == b"timings"


def test_a_graph_that_tensorrt_rejects_is_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The parser's reason is in the sentence, and what to use instead."""
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(rejects="unsupported node"))
    with pytest.raises(
        ConversionFailed, match=r"can't read model\.onnx: unsupported node\. Use --engine onnx"
    ):
        build_plan(tmp_path / "model.onnx", (), 1)


def test_a_build_that_fails_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The builder gives nothing and logs errors: those are told, and warnings aren't."""
    monkeypatch.setitem(sys.modules, "tensorrt", make_module(finds_no_kernel=True))
    with pytest.raises(ConversionFailed, match=r"can't build a plan: no kernel for node dense\. Use"):
        build_plan(tmp_path / "model.onnx", (), 1)
