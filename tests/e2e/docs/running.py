"""Runs a page's blocks one after the other, as a reader does in one terminal, in a scratch checkout."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.e2e.docs.pages import CHECKOUT
from tests.facade.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.docs.pages import Block

TIME_LIMIT_S = 120
COPIED = frozenset({"deploy"})
"""Its programs write beside themselves."""

LEFT_OUT = frozenset({".git", "model_repository", "secrets", ".env"})
"""What a page may change is its own."""


def make_scratch_checkout(folder: Path) -> Path:
    """
    Make a folder that looks like this checkout, and in which a page may export and write.

    Args:
        folder: An empty folder.

    Returns:
        The folder; everything but its model repository leads into this checkout.
    """
    for path in CHECKOUT.iterdir():
        if path.name in COPIED:
            shutil.copytree(path, folder / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.name not in LEFT_OUT:
            (folder / path.name).symlink_to(path)
    (folder / "model_repository").mkdir()
    return folder


class Terminal:
    """
    A reader's terminal: what a block sets, the next one has; what it left running ends with the page.

    Args:
        folder: Where it starts.

        state: An empty folder for what is kept between blocks.

        ports: By the number that pages name, where it really is. Other ports that pages open get free ones.

        environment: What is set beside this process's own environment.
    """

    def __init__(
        self, folder: Path, state: Path, ports: dict[int, int], environment: Mapping[str, str]
    ) -> None:
        self._state = state
        self._ports = ports
        self._groups: list[int] = []
        venv = Path(sys.executable).parent
        # The link, and not the interpreter that it leads to: its folder has the programs beside it.
        path = f"{venv}:{os.environ['PATH']}"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FACADE_")}
        self._environment = {**kept, "PATH": path, "TERM": "dumb", **environment}
        (state / "cwd").write_text(str(folder))
        (state / "env").write_text("")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for group in self._groups:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, signal.SIGTERM)

    def run(self, block: Block) -> None:
        """
        Run a block and hold what it prints against what its page shows.

        Args:
            block: The block.

        Raises:
            AssertionError: If it fails, or prints something else.
        """
        if block.language == "console":
            for command, shown in split_console(block.text):
                self._check(block, command, shown)
            return
        text = block.text
        if block.language != "sh":
            program = "node --input-type=module -e" if block.language == "js" else "python -c"
            text = f"{program} {shlex.quote(text)}"
        elif block.shown is None:
            # An answer that says no fails the block, unless the page shows it.
            text = text.replace("curl -s ", "curl -s --fail-with-body --show-error ")
        self._check(block, text, block.shown)

    def _check(self, block: Block, text: str, shown: str | None) -> None:
        code, printed = self._run(text)
        assert code == 0, f"{block.where} ended with {code}:\n{printed}"
        if shown is not None:
            expected = self.translate(shown)
            assert matches(expected, printed), f"{block.where} shows\n{expected}\nand printed\n{printed}"

    def _run(self, text: str) -> tuple[int, str]:
        """Run lines with bash; what they leave in the background goes on."""
        state = self._state
        script = (
            f'cd "$(cat {state}/cwd)"; source {state}/env; set -aeuo pipefail\n{self.translate(text)}\n'
            f"set +x; export -p > {state}/env; pwd > {state}/cwd"
        )
        # A file and not a pipe: a program that goes on in the background would hold the pipe open.
        output = state / "output"
        with output.open("wb") as file:
            process = subprocess.Popen(
                ["bash", "-c", script],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._groups.append(process.pid)
            code = process.wait(TIME_LIMIT_S)
        return code, output.read_text(errors="replace")

    def translate(self, text: str) -> str:
        """
        Put the real ports where a page has those of `make serve`, or one that it opens itself.

        Args:
            text: Lines of a page.

        Returns:
            The lines for here.
        """

        def place(found: re.Match[str]) -> str:
            return str(self._ports.setdefault(int(found[0]), free_port()))

        return re.sub(r"(?:(?<=[:=])|(?<=port ))(?:80[0-9][0-9]|9090|9464|6379)\b", place, text)


def split_console(text: str) -> list[tuple[str, str]]:
    """
    Split a terminal's record.

    Args:
        text: Lines, of which those after ``$ `` are commands.

    Returns:
        Each command with what it prints.
    """
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def matches(shown: str, printed: str) -> bool:
    """
    Tell whether something was printed as a page shows it.

    Args:
        shown: What the page shows; ``…`` stands for anything, over lines too.

        printed: What was printed.

    Returns:
        Whether they agree but for space at the ends of lines.
    """
    pattern = ".*?".join(re.escape(part) for part in _tidy(shown).split("…"))
    return re.fullmatch(pattern, _tidy(printed), re.DOTALL) is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
