"""The command that writes a report: where it writes, what it prints, and how it ends."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from export.artifacts import Publication
from export.cli import main


def run(published: Publication, *arguments: str) -> Result:
    """Run the command on the exported tiny model's repository."""
    return CliRunner().invoke(main, ["report", *arguments, "--repository", str(published.repository)])


def test_a_report_is_written_beside_you(
    published: Publication, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is named after model and version unless --output says otherwise; --json tells where it is."""
    monkeypatch.chdir(tmp_path)
    result = run(published, "tiny")
    assert (result.exit_code, result.stdout) == (0, "Wrote tiny-1.html\n")
    told = json.loads(run(published, "tiny", "1", "-o", "other.html", "--measure", "--json").stdout)
    assert told["file"] == "other.html"
    assert told["bytes"] == (tmp_path / "other.html").stat().st_size
    assert "version 1" in (tmp_path / "other.html").read_text()


def test_a_report_can_go_to_stdout(published: Publication) -> None:
    """Alone: progress is on stderr, and --json would be a second result."""
    assert run(published, "tiny", "-o", "-").stdout.startswith("<!doctype html>")
    assert run(published, "tiny", "-o", "-", "--json").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [(("nobody",), 3), (("tiny", "9"), 3), (("../x",), 2), (("tiny", "-o", "nowhere/x.html"), 2)],
)
def test_what_cannot_be_ends_in_a_sentence(
    published: Publication, arguments: tuple[str, ...], exit_code: int
) -> None:
    """With the exit code of its kind, and nothing on stdout."""
    result = run(published, *arguments)
    assert result.exit_code == exit_code
    assert "Error: " in result.stderr
    assert result.stdout == ""
