"""The command line as a user meets it: a process with arguments, streams and an exit code."""

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from export.cli import main
from export.errors import EXIT_CODES


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the CLI to its end."""
    return subprocess.run(
        [sys.executable, "-m", "export", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_help_lists_every_exit_code() -> None:
    """A script's author finds each code and its meaning in the help of the commands that have it."""
    helps = ""
    for command in main.commands.values():
        with click.Context(command, terminal_width=1000) as context:
            helps += command.get_help(context)
    for code, meaning in EXIT_CODES.items():
        assert f"{code} {meaning}" in helps


def test_an_export_reports_on_stdout_and_progress_on_stderr(tiny_model: Path, tmp_path: Path) -> None:
    """With --json stdout is one object to parse, and the long steps with their seconds are on stderr."""
    repository = tmp_path / "repository"
    ended = run("export", str(tiny_model), "--name", "tiny", "--repository", str(repository), "--json")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert (result["name"], result["version"], result["is_new"]) == ("tiny", 1, True)
    assert result["parity"]["min_cosine"] > 0.9999
    assert (repository / "tiny" / "1" / "manifest.json").is_file()
    assert "Converting tiny: done in " in ended.stderr
    assert "Warning" not in ended.stderr

    again = run(
        "export", str(tiny_model), "--name", "tiny", "--repository", str(repository), "--skip-existing"
    )
    assert (again.returncode, again.stdout) == (0, "")
    assert "tiny version 1 is up to date" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("m", "--name", "../x"), 2, "can't be a model name"),
        (("m", "--name", "a b"), 2, "can't be a model name"),
        (("m",), 2, "Missing option '--name'"),
        (("m", "--name", "x", "--task", "rerank"), 2, "There is no task 'rerank'"),
        (("m", "--name", "x", "--target", "v101"), 2, "no target 'v101'"),
        (("m", "--name", "x", "--target", "v100", "--precision", "bf16"), 2, "has no bfloat16; use fp16"),
        (("/no/such/model", "--name", "x"), 3, "no model folder"),
    ],
)
def test_bad_input_has_its_exit_code_and_sentence(arguments: tuple[str, ...], code: int, words: str) -> None:
    """A wrong request ends with its kind's code and a sentence on stderr, never a traceback."""
    ended = run("export", *arguments)
    assert ended.returncode == code
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_a_repository_that_cannot_be_written_is_told(tiny_model: Path, tmp_path: Path) -> None:
    """A repository path that runs through a file ends with code 5."""
    (tmp_path / "file").write_text("")
    ended = run(
        "export", str(tiny_model), "--name", "tiny", "--repository", str(tmp_path / "file" / "repository")
    )
    assert ended.returncode == 5
    assert "can't be written" in ended.stderr
