"""The options that only generators have, on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from export.cli import main
from export.commands.generation import split_lora
from export.errors import BadInput
from export.options import ExportOptions, GenerationOptions, check_options

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--lora", "legal"], "'legal' is not NAME=PATH"),
        (["--lora", "=x"], "'=x' is not NAME=PATH"),
        (["--dtype", "int8"], "'int8' is not one of"),
        (["--max-model-len", "0"], "0 is not in the range"),
        (["--tensor-parallel-size", "2"], "--tensor-parallel-size is for --engine vllm, not for onnxruntime"),
        (["--served-path", "/weights"], "--served-path is for --engine vllm"),
    ],
)
def test_what_can_not_be_is_refused_at_once(options: list[str], words: str, tmp_path: Path) -> None:
    """With exit code 2, before any model is looked for."""
    command = ["export", "nowhere", "--name", "chat", "--repository", str(tmp_path), *options]

    done = CliRunner().invoke(main, command)

    assert done.exit_code == 2
    assert words in done.output


def test_an_adapter_is_split_at_the_first_sign() -> None:
    """A path may have one as well."""
    assert split_lora("legal=/weights/a=b") == ("legal", "/weights/a=b")


def test_vllm_takes_them_all(tmp_path: Path) -> None:
    """On a GPU that it runs on; and our decoder takes a length."""
    generation = GenerationOptions(2048, 2, "bfloat16", (("legal", "/weights"),), "/served")
    wanted = ExportOptions("m", "chat", tmp_path, target="a100", engine="vllm", generation=generation)
    check_options(wanted)
    check_options(ExportOptions("m", "chat", tmp_path, generation=GenerationOptions(max_model_len=512)))
    with pytest.raises(BadInput, match="--lora is for"):
        check_options(ExportOptions("m", "chat", tmp_path, generation=GenerationOptions(loras=(("a", "b"),))))
    assert generation.to_json()["loras"] == [["legal", "/weights"]]
