"""Colours: to a terminal only, unless the environment says otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from facade.terminal.colours import choose_colour
from tests.facade.terminal.pseudo import run_in_terminal

RED = "\x1b[31m\x1b[1mError:"
ABSENT = ("export", "list", "--repository", "/no/such/folder")


@pytest.mark.parametrize(
    ("variables", "chosen"),
    [
        ({}, None),
        ({"NO_COLOR": ""}, None),
        ({"NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, None),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
    ],
)
def test_the_environment_decides(variables: dict[str, str], chosen: bool | None) -> None:  # noqa: FBT001
    """NO_COLOR wins; empty is unset."""
    assert choose_colour(variables) is chosen


def test_errors_are_red_in_a_terminal() -> None:
    """Of both programs; NO_COLOR keeps them plain."""
    assert RED in run_in_terminal("facade", "cache", "purge", "--model", "x", FACADE_REDIS_URL="nonsense://")
    assert RED in run_in_terminal(*ABSENT)
    assert "\x1b" not in run_in_terminal(*ABSENT, NO_COLOR="1")


@pytest.mark.parametrize(("forced", "is_red"), [("", False), ("1", True)])
def test_in_a_pipe_they_are_plain_unless_forced(forced: str, is_red: bool) -> None:  # noqa: FBT001
    """As no-color.org and its opposite have it."""
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR"}}
    ended = subprocess.run(
        [sys.executable, "-m", *ABSENT],
        capture_output=True, text=True, check=False, env={**kept, "FORCE_COLOR": forced},
    )  # fmt: skip

    assert ended.returncode == 3
    assert (RED in ended.stderr) is is_red
