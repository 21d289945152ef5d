"""What a reader's terminal is here: it keeps what blocks set, compares what they print, and ends what they start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.e2e.docs.commands import check_commands, split_commands
from tests.e2e.docs.pages import find_blocks
from tests.e2e.docs.running import Terminal, matches, split_console

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(name="terminal")
def _terminal(tmp_path: Path) -> Terminal:
    """A terminal in an empty folder, where 8080 is 1234."""
    folder, state = tmp_path / "folder", tmp_path / "state"
    folder.mkdir()
    state.mkdir()
    return Terminal(folder, state, {8080: 1234}, {"API_KEY": "a key"})


def blocks_of(text: str) -> list:
    """The blocks of a made-up page."""
    return find_blocks("page.md", text)


def test_a_block_has_what_earlier_ones_set(terminal: Terminal) -> None:
    """Variables, functions and the folder; each port is the real one."""
    page = '```sh\nNAME=one\nmkdir -p in && cd in\nsay() { echo "$NAME $(basename $PWD) $1"; }\n```\n\n'
    page += "```sh\nsay :8080\n```\n\n```text\none in :8080\n```\n"
    with terminal:
        for block in blocks_of(page):
            if block.is_run:
                terminal.run(block)


@pytest.mark.parametrize(
    ("page", "complaint"),
    [
        ("```sh\nfalse\n```\n", "ended with 1"),
        ("```sh\nfalse | true\n```\n", "ended with 1"),
        ("```sh\necho one\n```\n\nThis is printed:\n\n```text\ntwo\n```\n", "shows"),
        ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "shows"),
        ("```console\n$ echo one\ntwo\n```\n", "shows"),
    ],
)
def test_a_block_that_does_not_do_what_is_shown_fails(terminal: Terminal, page: str, complaint: str) -> None:
    """By its exit code, anywhere in a pipe, or by what it prints."""
    with terminal, pytest.raises(AssertionError, match=complaint):
        terminal.run(blocks_of(page)[0])


def test_what_a_page_left_running_ends_with_it(terminal: Terminal, tmp_path: Path) -> None:
    """A program in the background doesn't outlive the page."""
    with terminal:
        terminal.run(blocks_of("```sh\nsleep 600 &\necho $! > pid\n```\n")[0])
        pid = int((tmp_path / "folder" / "pid").read_text())
        os.kill(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_file_is_saved_under_its_name(terminal: Terminal, tmp_path: Path) -> None:
    """With the real ports."""
    with terminal:
        terminal.run(blocks_of("Save it as `a.yaml`:\n\n```yaml\nat: here:8080\n```\n")[0])

    assert (tmp_path / "folder" / "a.yaml").read_text() == "at: here:1234\n"


def test_marks_are_those_of_the_paragraph_above() -> None:
    """Not of one before a heading, nor of the block's own page."""
    marked, other = blocks_of(
        "*Not run here: it needs a GPU.*\n\n```sh\na\n```\n\n## Next\n\n```sh\nb\n```\n"
    )

    assert (marked.mark, marked.is_run) == ("not here", False)
    assert (other.mark, other.is_run) == (None, True)


@pytest.mark.parametrize(
    ("shown", "printed", "is_same"),
    [
        ("a … c", "a b c", True),
        ("a … c", "a b\nc", False),
        ("…\nc", "c", True),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\nd", "a\nb\nd", False),
        ("a.c", "abc", False),
    ],
)
def test_dots_stand_for_anything(shown: str, printed: str, is_same: bool) -> None:  # noqa: FBT001
    """In a line; alone in a line for lines, or none."""
    assert matches(shown, printed) is is_same


def test_a_console_is_commands_and_what_they_print() -> None:
    """Each after a dollar."""
    assert split_console("$ a b\none\n$ c\ntwo\n") == [("a b", "one\n"), ("c", "two\n")]


def test_commands_are_split_as_a_shell_does() -> None:
    """Settings in front and comments left out, lines joined."""
    text = "A=1 b 'c; d' | e \\\n  f   # g\nh > i\n"

    assert [words[0] for words in split_commands(text)] == ["b", "e", "h"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("triton-export export x --nome y", "no option --nome"),
        ("triton-facade keys make", "no command make"),
        ("make sreve", "no target sreve"),
        ("make bench BENCH=--quik", "takes no --quik"),
        ("python -m tests.load.nothing", "no module"),
        ("cat docs/nothing.md", "no docs/nothing.md"),
    ],
)
def test_a_command_that_is_not_there_is_found(text: str, complaint: str) -> None:
    """Without running it."""
    with pytest.raises(AssertionError, match=complaint):
        check_commands(text)
