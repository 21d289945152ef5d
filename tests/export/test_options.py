"""Requests that can't be met are refused before anything heavy is imported."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from export.errors import BadInput, TargetUnfit
from export.options import ExportOptions, check_name, check_options, check_task

GOOD = ExportOptions(model="m", name="minilm", repository=Path("r"))


@pytest.mark.parametrize("name", ["minilm", "a", "0", "all-minilm.l6_v2", "a" * 63])
def test_good_names_pass(name: str) -> None:
    """Names that Triton, a URL and a file system take are accepted."""
    check_name(name)


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", "a b", "A", ".a", "-a", "a" * 64, "é", "a\n", "minilm_core", "a\0"]
)
def test_bad_names_are_refused(name: str) -> None:
    """Names that could leave the repository, hide, or collide with a core are refused."""
    with pytest.raises(BadInput):
        check_name(name)


def test_a_mistyped_task_names_all() -> None:
    """A task that doesn't exist is refused with those that do."""
    with pytest.raises(BadInput, match="Use 'embedding', 'text-classification'"):
        check_task("embed")


@pytest.mark.parametrize(
    ("field", "asked"),
    [("target", "a1000"), ("engine", "openvino"), ("accelerator", "cuda"), ("precision", "fp8")],
)
def test_what_is_unknown_is_named(field: str, asked: str) -> None:
    """A target, engine, accelerator or precision that isn't there is refused by name."""
    with pytest.raises(BadInput, match=f"There is no {field} '{asked}'"):
        check_options(replace(GOOD, **{field: asked}))


def test_what_the_hardware_lacks_is_refused() -> None:
    """A V100 has no bfloat16, and the command says so before anything is loaded."""
    with pytest.raises(TargetUnfit, match="no bfloat16"):
        check_options(replace(GOOD, target="v100", precision="bf16"))


def test_good_options_pass() -> None:
    """The defaults can be exported, with or without a named task."""
    check_options(GOOD)
    check_options(replace(GOOD, task="embedding"))


def test_the_core_is_named_after_the_door() -> None:
    """The inner model's name is the model's with a suffix that no model may have."""
    assert GOOD.core_name == "minilm_core"


def test_options_are_checked_without_heavy_imports() -> None:
    """The command line and its options need neither torch nor numpy nor protobuf."""
    heavy = "torch transformers onnx onnxruntime numpy google.protobuf grpc huggingface_hub"
    code = f"import sys, export.cli; print([m for m in {heavy.split()} if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
