"""The commands that move a release: what they print, and how they end."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from export.cli import main
from tests.export.release_repository import NAME, publish_text


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    """Version 2 is stable, 1 was before, 3 is a candidate."""
    for number in range(3):
        publish_text(tmp_path, is_candidate=number == 2)
    return tmp_path


def run(repository: Path, *arguments: str) -> Result:
    """Run one command on the repository."""
    return CliRunner().invoke(main, [*arguments, "--repository", str(repository)])


def read(repository: Path, *arguments: str) -> Any:
    """Run one command that succeeds, and read its JSON."""
    result = run(repository, *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_way_of_a_version_in_words(repository: Path) -> None:
    """Each command says what answers now."""
    steps = (
        (
            ("canary", NAME, "3", "--percent", "12.5"),
            "stable 2, canary 3 for 12.5 % of the callers, before: 1",
        ),
        (("list",), "stable 2  canary 3 (12.5 %)  on disk 1, 2, 3"),
        (("promote", NAME), "stable 3, before: 2, 1"),
        (("promote", NAME), "(nothing changed)"),
        (("rollback", NAME), "stable 2, before: 1"),
        (("rollback", NAME), "to go further: --to 1"),
        (("rollback", NAME, "--to", "1"), "stable 1"),
        (("show", NAME), "stable"),
        (("diff", NAME, "1", "2"), "No difference."),
    )
    for arguments, said in steps:
        result = run(repository, *arguments)
        assert result.exit_code == 0, result.output
        assert said in result.stdout


def test_the_way_of_a_version_for_programs(repository: Path) -> None:
    """With --json each command prints one object, whose release is the card's."""
    trial = {"stable": 2, "canary": 3, "canary_percent": 10, "previous": [1]}
    assert read(repository, "canary", NAME, "3", "--percent", "10")["release"] == trial
    assert read(repository, "list") == [
        {"name": NAME, "task": "embedding", "release": trial, "versions": [1, 2, 3]}
    ]
    assert read(repository, "promote", NAME)["is_new"] is True
    assert read(repository, "promote", NAME)["is_new"] is False
    assert read(repository, "prune", NAME, "--keep", "1") == {"name": NAME, "removed": [1, 2]}
    assert [row["role"] for row in read(repository, "show", NAME)["versions"]] == ["stable"]
    assert read(repository, "diff", NAME, "3", "3") == {}


def test_a_list_tells_of_what_it_can_not_read(repository: Path) -> None:
    """A model whose config is broken is not passed over in silence, nor does it hide the others."""
    broken = repository / "broken"
    broken.mkdir()
    (broken / "config.pbtxt").write_text("garbage {")

    result = run(repository, "list")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(f"{NAME}  embedding")
    assert f"Warning: {broken / 'config.pbtxt'} can't be read" in result.stderr

    unread, read_ = read(repository, "list")
    assert (unread["name"], read_["name"]) == ("broken", NAME)
    assert "can't be read" in unread["error"]
    assert "error" not in read_


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("canary", NAME, "3", "--percent", "101"), 2, "from 0 to 100"),
        (("canary", NAME, "3", "--percent", "nan"), 2, "from 0 to 100"),
        (("canary", NAME, "2", "--percent", "10"), 2, "stable already"),
        (("canary", NAME, "9", "--percent", "10"), 3, "On disk: 1, 2, 3"),
        (("canary", NAME, "3"), 2, "--percent"),
        (("promote", "../x"), 2, "can't be a model name"),
        (("promote", "other"), 3, "Models: tiny"),
        (("rollback", NAME, "--to", "3"), 3, "was not stable before"),
        (("prune", NAME, "--keep", "0"), 2, "at least 1"),
        (("verify", NAME, "1"), 10, "nothing says what is right"),
        (("diff", NAME, "1", "9"), 3, "no version 9"),
        (("promote", NAME, "--triton", "localhost:8001"), 2, "grpc://localhost:8001"),
        (("promote", NAME, "--triton", "grpc://127.0.0.1:1"), 9, "can't follow"),
    ],
)
def test_a_refusal_is_a_sentence_and_a_code(
    repository: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Nothing is changed, and the sentence says what is wrong."""
    before = read(repository, "list")
    result = run(repository, *arguments)
    assert result.exit_code == code
    assert said in result.output
    assert "Traceback" not in result.output
    assert read(repository, "list") == before


def test_a_repository_edited_by_hand_is_refused(repository: Path) -> None:
    """A broken config, and one that lost its card, are named with the file; the exit code is the repository's."""
    config = repository / NAME / "config.pbtxt"
    config.write_text("max_batch_size: many")
    result = run(repository, "promote", NAME)
    assert (result.exit_code, "can't be read" in result.output) == (5, True)
    config.write_text('backend: "python"')
    result = run(repository, "promote", NAME)
    assert (result.exit_code, "didn't write" in result.output) == (5, True)
