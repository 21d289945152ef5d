"""The table of hardware: what each target can do, and what it is told when it can't."""

from pathlib import Path

import pytest

from export.errors import BadInput, TargetUnfit
from export.targets import PRECISIONS, TARGETS, check_target, check_task_fits, cpu_features, find_target
from tests.export.target_table import PAGE, START, replace_table


@pytest.mark.parametrize("name", TARGETS)
def test_every_precision_is_offered_or_refused_with_a_reason(name: str) -> None:
    """No number format is left unsaid, and each refusal names what to use instead."""
    target = TARGETS[name]
    assert set(target.precisions) | set(target.refused) == set(PRECISIONS)
    assert not set(target.precisions) & set(target.refused)
    assert all("use " in reason for reason in target.refused.values())
    assert target.source
    assert target.software.source


def test_a_v100_has_no_bfloat16_and_no_int8_tensor_cores() -> None:
    """What Volta lacks is refused in words, and fp16 and fp32 are there."""
    v100 = find_target("v100")
    assert v100.precisions == ("fp16", "fp32")
    with pytest.raises(TargetUnfit, match=r"no bfloat16; use fp16"):
        check_target(v100, "onnxruntime", "none", "bf16")
    with pytest.raises(TargetUnfit, match=r"no int8 tensor cores; use fp16"):
        check_target(v100, "onnxruntime", "none", "int8")
    check_target(v100, "tensorrt", "none", "fp16")


def test_a_v100_gets_the_last_software_that_runs_on_it() -> None:
    """Triton 24.10, or 24.09 for the last TensorRT with Volta; and no vLLM."""
    v100 = find_target("v100")
    assert v100.software.triton_image.endswith(":24.10-py3")
    assert v100.software.triton_tensorrt_image.endswith(":24.09-py3")
    assert v100.software.tensorrt == "10.4"
    assert not v100.runs_vllm


def test_an_a100_has_bfloat16() -> None:
    """Ampere has bf16; its int8 is refused because of the kind of graph, and not as missing."""
    a100 = find_target("a100")
    assert a100.precisions == ("fp16", "bf16", "fp32")
    assert "has int8 tensor cores, but" in a100.refused["int8"]
    assert a100.runs_vllm


@pytest.mark.parametrize(
    ("name", "memory_gb", "multiprocessors"),
    [("a100-1g.5gb", 5, 14), ("a100-2g.10gb", 10, 28), ("a100-3g.20gb", 20, 42), ("a100-3g.40gb", 40, 42)],
)
def test_slices_have_their_share(name: str, memory_gb: int, multiprocessors: int) -> None:
    """A MIG slice has the card's capability, and its own memory and multiprocessors."""
    piece = find_target(name)
    assert (piece.compute_capability, piece.memory_gb) == ("8.0", memory_gb)
    assert piece.multiprocessors == multiprocessors


def test_turing_runs_vllm_and_lacks_bfloat16() -> None:
    """A T4 is just new enough for vLLM and for Triton's newest image."""
    t4 = find_target("t4")
    assert t4.runs_vllm
    assert "bf16" in t4.refused
    assert t4.software.triton_image == find_target("h100").software.triton_image


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_precision_is_refused_on_a_cpu(precision: str) -> None:
    """A CPU computes halves in fp32, so they would cost and gain nothing."""
    with pytest.raises(TargetUnfit, match=r"slower than fp32.*use int8 or fp32"):
        check_target(find_target("cpu"), "onnxruntime", "none", precision)


@pytest.mark.parametrize(
    ("target", "engine", "accelerator", "words"),
    [
        ("cpu", "tensorrt", "none", "needs a GPU target"),
        ("cpu", "onnxruntime", "tensorrt", "needs a GPU target"),
        ("cpu", "vllm", "none", "needs a GPU target"),
        ("v100", "vllm", "none", "start at compute capability 7.5.*has 7.0; use --engine onnxruntime"),
        ("a100", "tensorrt", "tensorrt", "helps --engine onnxruntime only"),
    ],
)
def test_what_does_not_go_together_is_refused(target: str, engine: str, accelerator: str, words: str) -> None:
    """TensorRT and vLLM need a GPU, vLLM a newer one, and a plan needs no accelerator."""
    with pytest.raises(TargetUnfit, match=words):
        check_target(find_target(target), engine, accelerator, "fp32")


@pytest.mark.parametrize(
    ("engine", "accelerator", "precision"),
    [("onnx", "none", "fp32"), ("onnxruntime", "cuda", "fp32"), ("onnxruntime", "none", "int5")],
)
def test_unknown_choices_are_named(engine: str, accelerator: str, precision: str) -> None:
    """A mistyped choice is answered with the known ones."""
    with pytest.raises(BadInput, match=r"There is no .*Use one of: "):
        check_target(find_target("cpu"), engine, accelerator, precision)


def test_a_mistyped_target_is_guessed() -> None:
    """A near miss is told what was probably meant."""
    with pytest.raises(BadInput, match=r"no target 'a100-80g'\. Did you mean 'a100-80gb'\?"):
        find_target("a100-80g")


def test_the_processors_instructions_are_read(tmp_path: Path) -> None:
    """Flags are whole words, and a machine that tells nothing has none."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: X\nflags\t\t: fpu avx2 avx512_vnni\n", encoding="utf-8")
    assert cpu_features(cpuinfo) == ("avx2", "avx512_vnni")
    cpuinfo.write_text("flags\t\t: avx\n", encoding="utf-8")
    assert cpu_features(cpuinfo) == ()
    assert cpu_features(tmp_path / "none") == ()


@pytest.mark.parametrize(
    ("task", "engine", "precision", "words"),
    [
        ("text-generation", "tensorrt", "fp16", "use --engine vllm"),
        ("embedding", "vllm", "fp16", "for text generation, and this model does embedding"),
        ("embedding", "onnxruntime", "int4", "for text generation"),
    ],
)
def test_engines_and_formats_have_their_tasks(task: str, engine: str, precision: str, words: str) -> None:
    """Generators have vLLM and int4 for themselves, encoders TensorRT plans."""
    with pytest.raises(BadInput, match=words):
        check_task_fits(task, engine, precision)
    check_task_fits("text-generation", "vllm", "int4")
    check_task_fits("embedding", "tensorrt", "fp16")


def test_the_documentations_table_is_this_one() -> None:
    """The page shows what the code has; `python -m tests.export.target_table` writes it."""
    text = PAGE.read_text(encoding="utf-8")
    assert START in text
    assert replace_table(text) == text
