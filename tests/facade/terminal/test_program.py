"""Help that fits a screen, of every command of both programs; and how a program ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest
from click.testing import CliRunner

from export.cli import main as export
from facade.__main__ import main as facade
from facade.terminal.program import Command, Program

if TYPE_CHECKING:
    from collections.abc import Iterator

LONG = {"triton-export export": 50, "triton-export tune": 38, "triton-facade keys new": 36}
"""Lines of the helps that need more than a small screen."""

SCREEN = 30


def walk(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """Give a command and all below it, by full name."""
    yield name, command
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from walk(below, f"{name} {below.name}")


COMMANDS = dict((*walk(facade, "triton-facade"), *walk(export, "triton-export")))


def render(name: str, columns: int) -> list[str]:
    """Give a help's lines as a terminal of that width shows them."""
    with click.Context(COMMANDS[name], info_name=name, terminal_width=columns - 2) as context:
        return COMMANDS[name].get_help(context).splitlines()


@pytest.mark.parametrize("columns", [80, 100])
@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_screen(name: str, columns: int) -> None:
    """No line is too wide, no list of commands is cut off, no help is longer than a screen."""
    lines = render(name, columns)

    assert max(map(len, lines)) <= columns
    assert not [line for line in lines[1:] if line.endswith("...")]
    assert len(lines) <= LONG.get(name, SCREEN) - (5 if columns > 80 else 0)


@pytest.mark.parametrize(
    "name", [name for name, found in COMMANDS.items() if not isinstance(found, click.Group)]
)
def test_help_says_how_the_command_ends(name: str) -> None:
    """Each command lists its exit codes."""
    found = COMMANDS[name]

    assert isinstance(found, Command)
    assert 0 in found.exit_codes
    assert "Exit codes:" in render(name, 100)


@pytest.mark.parametrize(("columns", "widest"), [("80", range(60, 79)), ("300", range(90, 99))])
def test_help_is_as_wide_as_the_terminal_up_to_a_bound(columns: str, widest: range) -> None:
    """Longer lines are hard to read."""
    ended = subprocess.run(
        [sys.executable, "-m", "export", "export", "--help"],
        capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": columns},
    )  # fmt: skip

    assert max(map(len, ended.stdout.splitlines())) in widest


def test_short_help_is_there_whoever_asks() -> None:
    """Also where a command is run without its program, whose names click would keep otherwise."""
    for name, found in COMMANDS.items():
        assert "-h, --help" in "".join(render(name, 100))
        assert CliRunner().invoke(found, ["-h"]).exit_code == 0


def test_options_stand_under_their_headings() -> None:
    """What has none stands under the last."""
    options = [click.Option(["--one"]), click.Option(["--other"])]
    command = Command("x", params=options, headings={"First": ["one"], "Second": []}, examples=["x --one 1"])
    lines = command.get_help(click.Context(command)).splitlines()
    places = [lines.index("First:"), lines.index("Second:")]
    places[1:1] = [next(i for i, line in enumerate(lines) if "--one TEXT" in line)]
    places.append(next(i for i, line in enumerate(lines) if "--other TEXT" in line))

    assert places == sorted(places)
    assert lines[-2:] == ["Example:", "  x --one 1"]


@click.group(cls=Program)
def program() -> None:
    """Fail in many ways."""


@program.command()
@click.option("--how", required=True)
def fail(how: str) -> int:
    """Fail."""
    if how == "file":
        Path("/no/such/file").read_text(encoding="utf-8")
    if how == "bug":
        raise KeyError(how)
    if how == "interrupt":
        raise KeyboardInterrupt
    return 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["fail", "--how", "well"], 0, ""),
        (["fail", "--how", "file"], 1, "Error: /no/such/file: No such file or directory. Check the path."),
        (["fail", "--how", "bug"], 70, "Error: KeyError: 'bug' (at "),
        (["fail", "--how", "interrupt"], 130, "Stopped."),
        (["fail", "--hwo", "x"], 2, "Did you mean"),
        (["xfail"], 2, "Did you mean"),
        (["fail"], 2, "Try 'program fail --help' for help."),
        ([], 2, "Fail in many ways."),
    ],
)
def test_every_end_has_its_code_and_no_traceback(arguments: list[str], code: int, words: str) -> None:
    """What happened is on stderr, in words."""
    result = CliRunner().invoke(program, arguments, prog_name="program")

    assert result.exit_code == code
    assert words in result.stderr
    assert "Traceback" not in result.output


def test_a_bug_is_shown_whole_on_request() -> None:
    """For whoever reports it."""
    result = CliRunner().invoke(program, ["fail", "--how", "bug"], env={"FULL_TRACEBACK": "1"})

    assert "Traceback (most recent call last)" in result.stderr


def test_ctrl_c_ends_a_real_process_with_130() -> None:
    """A word, and no traceback."""
    code = (
        "import click, time\n"
        "from facade.terminal.program import Program, command\n"
        "@command()\n"
        "def wait():\n"
        "    print('waits', flush=True)\n"
        "    time.sleep(60)\n"
        "Program('p', commands={'wait': wait})(['wait'])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)

    assert (process.returncode, said.strip()) == (130, "Stopped.")
