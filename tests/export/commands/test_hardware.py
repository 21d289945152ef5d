"""The commands about hardware."""

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from export import tensorrt_plan
from export.artifacts import Publication
from export.cli import main
from export.targets import TARGETS


def test_every_target_is_listed() -> None:
    """One line a target with its precisions and the image that still runs on it."""
    answer = CliRunner().invoke(main, ["targets"])
    assert answer.exit_code == 0
    lines = {line.split()[0]: line for line in answer.output.splitlines() if line}
    assert set(TARGETS) <= set(lines)
    assert "fp16,fp32" in lines["v100"]
    assert "24.10-py3 (24.09-py3)" in lines["v100"]


def test_programs_get_reasons_and_sources() -> None:
    """As JSON there is everything: why a precision is missing, and where the facts come from."""
    rows = json.loads(CliRunner().invoke(main, ["targets", "--json"]).output)
    by_name = {row["name"]: row for row in rows}
    assert "no bfloat16" in by_name["v100"]["refused"]["bf16"]
    assert by_name["v100"]["engines"] == ["onnxruntime", "tensorrt"]
    assert by_name["a100"]["engines"] == ["onnxruntime", "tensorrt", "vllm"]
    assert by_name["cpu"]["engines"] == ["onnxruntime"]
    assert all(row["source"] and row["software"]["source"] for row in rows)


def test_the_list_needs_nothing_heavy() -> None:
    """Listing hardware answers at once: no torch, numpy or protobuf is imported for it."""
    code = (
        "import sys; from export.cli import main; main(['targets'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'numpy', 'google.protobuf', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_a_plan_without_a_gpu_ends_with_its_own_code(
    published: Publication, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit code tells a missing GPU from bad input, and an unknown target from both."""
    monkeypatch.setattr(tensorrt_plan, "find_gpu", lambda: None)
    words = ["build-plan", "tiny", "--repository", str(published.repository), "--target"]
    cpu_model = CliRunner().invoke(main, [*words, "a100"])
    assert (cpu_model.exit_code, "exported for a CPU" in cpu_model.output) == (2, True)
    unknown = CliRunner().invoke(main, [*words, "a1000"])
    assert (unknown.exit_code, "Did you mean" in unknown.output) == (2, True)
