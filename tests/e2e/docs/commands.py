"""Checks commands without running them: programs' subcommands and options, make's targets, modules, paths."""

from __future__ import annotations

import re
import shlex
from functools import cache
from typing import TYPE_CHECKING

import click

from export.cli import main as triton_export
from facade.__main__ import main as triton_facade
from tests.e2e.docs.pages import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS: dict[str, click.Command] = {"triton-export": triton_export, "triton-facade": triton_facade}
ENDS = frozenset({"&&", "||", "|", ";", "&", "(", ")", "$("})
FOLDERS = tuple(
    f"{path.name}/" for path in CHECKOUT.iterdir() if path.is_dir() and not path.name.startswith(".")
)
PASSED_ON = {"tests.load.users": "tests.load.locustfile"}
"""Modules that hand options on to another one."""

MADE_LATER = ("model_repository/", "bench-results/", "chaos-results/")


def check_commands(text: str) -> None:
    """
    Check every command of a shell text that this project can know.

    Args:
        text: Lines for a shell.

    Raises:
        AssertionError: If a command, an option, a target, a module or a path isn't there.
    """
    for words in split_commands(text):
        for word in words:
            _check_path(word)
        names = [word.rpartition("/")[2] for word in words]
        for program, command in PROGRAMS.items():
            if program == names[0]:
                _check_click(command, words[1:], program)
        if names[0] == "make":
            _check_make(words[1:])
        if "-m" in names and names[names.index("-m") - 1].startswith("python"):
            at = names.index("-m") + 1
            _check_module(words[at], words[at + 1 :])


def split_commands(text: str) -> list[list[str]]:
    """
    Split a shell text into its simple commands.

    Args:
        text: Lines for a shell.

    Returns:
        The words of each command; settings in front of it are left out.
    """
    commands: list[list[str]] = []
    text = re.sub(r"<<'?(\w+)'?(.*\n)(?:.*\n)*?\1\n", r"\2", text).replace("\\\n", " ")
    # Line feeds end commands and comments, and are no more than space to shlex.
    lexer = shlex.shlex(text.replace("\n", "\n;"), posix=True, punctuation_chars="();<>|&")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word in ENDS or set(word) <= set("();|&"):
            commands.append(words)
            words = []
        elif words or not re.fullmatch(r"[A-Z_]+=.*|exec|sudo", word):
            words.append(word)
    return [command for command in commands if command]


def _check_click(command: click.Command, words: list[str], program: str) -> None:
    """Follow subcommands, and look for each option."""
    for word in words:
        known = {
            "-h",
            "--help",
            *(name for one in command.params for name in (*one.opts, *one.secondary_opts)),
        }
        if word.startswith("-") and len(word) > 1 and not word[1].isdigit():
            name = word.partition("=")[0]
            assert name in known, f"{program} has no option {name}"
        elif isinstance(command, click.Group):
            assert word in command.commands, f"{program} has no command {word}"
            command, program = command.commands[word], f"{program} {word}"


@cache
def _recipes() -> dict[str, str]:
    """The Makefile's targets, with their lines."""
    text = (CHECKOUT / "Makefile").read_text()
    return {found[1]: found[2] for found in re.finditer(r"^([a-z-]+):.*\n((?:\t.*\n)*)", text, re.MULTILINE)}


def _check_make(words: list[str]) -> None:
    for word in words:
        name, has_value, value = word.partition("=")
        if not has_value:
            assert name in _recipes(), f"make has no target {name}"
            continue
        assert name.startswith("FACADE_") or name in (CHECKOUT / "Makefile").read_text(), (
            f"make takes no {name}"
        )
        target = next(word for word in words if "=" not in word)
        modules = re.findall(r"-m (tests\.\S+)", _recipes()[target])
        for option in shlex.split(value):
            if option.startswith("--"):
                assert any(option in _source(module) for module in modules), (
                    f"make {target} takes no {option}"
                )


def _source(module: str) -> str:
    """A module's text; of a package all that stands in it."""
    path = CHECKOUT / module.replace(".", "/")
    files = path.glob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    passed_on = _source(PASSED_ON[module]) if module in PASSED_ON else ""
    return "\n".join(file.read_text() for file in files) + passed_on


def _check_module(module: str, words: list[str]) -> None:
    path: Path = CHECKOUT / module.replace(".", "/")
    if module.partition(".")[0] not in {"deploy", "export", "facade", "tests"}:
        return
    assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), f"there is no module {module}"
    for word in words:
        name = word.partition("=")[0]
        if name.startswith("--") and name != "--help":
            assert f'"{name}"' in _source(module), f"{module} takes no {name}"


def _check_path(word: str) -> None:
    """A path into the checkout leads somewhere."""
    path = word.removeprefix("./")
    if path.startswith(FOLDERS) and not path.startswith(MADE_LATER):
        assert list(CHECKOUT.glob(path.rstrip("/"))), f"there is no {path}"
