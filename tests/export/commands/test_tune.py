"""`triton-export tune` on the command line."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from export import tune as use_case
from export.cli import main
from export.tune import Tuned, TuneOptions
from export.tune_search import Measurement


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[TuneOptions]:
    """What reaches the use case, which finds something better."""
    received: list[TuneOptions] = []

    def run(options: TuneOptions, _: object) -> Tuned:
        received.append(options)
        return Tuned(2, Measurement(100, 9), Measurement(200, 8), 2.0, {"rows": 8}, {"rows": (1, 8)})

    monkeypatch.setattr(use_case, "run_tune", run)
    return received


def test_what_was_found_is_summed_up(asked: list[TuneOptions], tmp_path: Path) -> None:
    """Figures before and after, and what changed."""
    answer = CliRunner().invoke(
        main,
        [
            "tune",
            "tiny",
            "--p99-ms",
            "50",
            "--repository",
            str(tmp_path),
            "--triton",
            "grpc://localhost:8001",
        ],
    )

    assert answer.exit_code == 0
    assert "Published tiny version 2, 2.00 times as fast: 100 items/s, p99 9.0 ms became 200" in answer.output
    assert "Changed: rows 1 -> 8" in answer.output
    assert asked == [TuneOptions("tiny", 50.0, tmp_path, tritons=("localhost:8001",))]


def test_programs_get_json(asked: list[TuneOptions], tmp_path: Path) -> None:
    """One object with everything."""
    answer = CliRunner().invoke(
        main, ["tune", "tiny", "--p99-ms", "50", "--repository", str(tmp_path), "--json"]
    )

    assert '"version": 2' in answer.output
    assert '"after": {"items_per_s": 200, "p99_ms": 8}' in answer.output
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], "Missing option '--p99-ms'"),
        (["--p99-ms", "0"], "not in the range x>0"),
        (["--p99-ms", "soon"], "not a valid float"),
        (["--p99-ms", "50", "--budget-s", "1"], "not in the range x>=20"),
        (["--p99-ms", "50", "--triton", "localhost"], "--triton must be like grpc://"),
        (["--p99-ms", "50", "--repository", "nowhere"], "There is no model repository at nowhere"),
    ],
)
def test_bad_input_is_refused(options: list[str], words: str) -> None:
    """Before anything is started."""
    answer = CliRunner().invoke(main, ["tune", "tiny", *options])

    assert answer.exit_code in {2, 3}
    assert words in answer.output


def test_help_needs_nothing_heavy() -> None:
    """Neither numpy nor protobuf is imported for it."""
    code = (
        "import sys; from export.cli import main; main(['tune', '--help'], standalone_mode=False); "
        "sys.exit(bool({'torch', 'numpy', 'google.protobuf', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0
