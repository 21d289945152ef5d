"""Runs a page's blocks one after the other, as a reader does in one terminal, in a scratch checkout."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.e2e.docs.pages import CHECKOUT
from tests.facade.redis_server import free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.e2e.docs.pages import Block

TIME_LIMIT_S = 120
PATIENCE_S = 10
"""Seconds that a program in the background gets to end by itself."""

STILL_RUNNING = 124
"""The exit code that `timeout` gives what didn't end."""

LINKED = (
    *("facade", "export", "docs", "tests", "Makefile", "pyproject.toml", "constraints.txt"),
    *("docker-compose.yml", ".venv", ".triton"),
)
"""What a page reads."""

COPIED = "deploy"
"""Its programs write beside themselves."""


def make_scratch_checkout(folder: Path, repository: Path) -> Path:
    """
    Make a folder that looks like this checkout, and in which a page may export and write.

    Args:
        folder: An empty folder.

        repository: Its model repository, which it links to.

    Returns:
        The folder.
    """
    for name in LINKED:
        (folder / name).symlink_to(CHECKOUT / name)
    shutil.copytree(CHECKOUT / COPIED, folder / COPIED, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model_repository").symlink_to(repository)
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
        for signum in (signal.SIGTERM, signal.SIGKILL):
            end = time.monotonic() + PATIENCE_S
            is_left = self._signal_all(signum)
            while is_left and time.monotonic() < end:
                time.sleep(0.02)
                is_left = self._signal_all(0)

    def _signal_all(self, signum: int) -> bool:
        """Send a signal to all that is left of the blocks' processes; tell whether anything is."""
        for group in self._groups[:]:
            try:
                os.killpg(group, signum)
            except ProcessLookupError:
                self._groups.remove(group)
        return bool(self._groups)

    def run(self, block: Block) -> None:
        """
        Run a block and hold what it prints against what its page shows.

        Args:
            block: The block.

        Raises:
            AssertionError: If it fails, or prints something else.
        """
        if block.file is not None:
            folder = Path((self._state / "cwd").read_text().strip())
            (folder / block.file).write_text(self.translate(block.text))
            return
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
        assert code == 0, f"{block.where} ended with {code}:\n{printed[-3000:]}"
        if shown is not None:
            expected = self.translate(shown)
            assert matches(expected, printed), (
                f"{block.where} shows\n{expected}\nand printed\n{printed[-3000:]}"
            )

    def _run(self, text: str) -> tuple[int, str]:
        """Run lines with bash; what they leave in the background goes on."""
        state = self._state
        script = (
            f'cd "$(cat {state}/cwd)"; source {state}/env; set -aeuo pipefail\n{self.translate(text)}\n'
            f"set +x; {{ export -p; declare -f; }} > {state}/env; pwd > {state}/cwd"
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
            try:
                code = process.wait(TIME_LIMIT_S)
            except subprocess.TimeoutExpired:
                code = STILL_RUNNING
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

        return re.sub(
            r"(?:(?<=[:=])|(?<=port )|(?<=listen )|(?<=port_value: ))(?:80[0-9][0-9]|8443|9090|9464|6379)\b",
            place,
            text,
        )


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
        shown: What the page shows. ``…`` stands for anything in a line; alone in a line, for any lines or none.

        printed: What was printed.

    Returns:
        Whether they agree but for space at the ends of lines.
    """
    pattern = "".join(
        r"(?:.*\n)*?" if line.strip() == "…" else ".*".join(map(re.escape, line.split("…"))) + r"\n"
        for line in _tidy(shown).splitlines()
    )
    return re.fullmatch(pattern, _tidy(printed) + "\n") is not None


def _tidy(text: str) -> str:
    return "\n".join(line.rstrip() for line in text.strip().splitlines())
