"""
Installs the peers, each into an environment of its own below `.peers`: ``python -m tests.load.peers.install [NAME …]``.

Versions are in versions.toml. An environment's stamp says what it was made of; while it holds, nothing is done. A peer
that can't be installed is left out with a sentence; the others are installed all the same.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.steps import StepFailed, run_step
from tests.load.machine import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FOLDER = CHECKOUT / ".peers"
VERSIONS = Path(__file__).with_name("versions.toml")
STAMP = ".stamp"


def read_versions() -> dict[str, list[str]]:
    """
    Read what the environments are made of.

    Returns:
        What pip is told, by the environment's name.
    """
    content = tomllib.loads(VERSIONS.read_text(encoding="utf-8"))
    return {name: [*table.get("options", ()), *table["packages"]] for name, table in content.items()}


def python_of(name: str) -> Path:
    """
    Tell which interpreter runs a peer.

    Args:
        name: Its environment's name.

    Returns:
        A path; it may not exist yet.
    """
    return FOLDER / name / "bin" / "python"


def is_installed(name: str) -> bool:
    """
    Tell whether a peer's environment is complete and of the versions that are asked for.

    Args:
        name: Its environment's name.

    Returns:
        Whether its stamp holds.
    """
    stamp = FOLDER / name / STAMP
    return stamp.exists() and stamp.read_text(encoding="utf-8") == _key(read_versions()[name])


def install(name: str, say: Callable[[str], None]) -> None:
    """
    Bring a peer's environment up to date.

    Args:
        name: Its name in versions.toml.

        say: Takes a line of progress.

    Raises:
        StepFailed: If it can't be installed.
    """
    if is_installed(name):
        say(f"{name} is installed")
        return
    packages = read_versions()[name]
    log = CHECKOUT / ".run" / "logs" / "peers.log"
    remedy = "Check the network and the free disk; the benchmark leaves this peer out."
    commands = {
        f"an empty environment for {name}": [sys.executable, "-m", "venv", "--clear", str(FOLDER / name)],
        f"{name} into {FOLDER.name}/{name}": [
            str(python_of(name)),
            "-m",
            "pip",
            "install",
            "--no-input",
            *packages,
        ],
    }
    for what, command in commands.items():
        run_step(f"installing {what}", command, log=log, folder=CHECKOUT, say=say, remedy=remedy)
    (FOLDER / name / STAMP).write_text(_key(packages), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Install from the command line.

    Args:
        arguments: Names of peers; the command line's by default, and all if there is none.

    Returns:
        The exit code: 0 all are installed, 1 one or more aren't, 130 interrupted.
    """
    known = list(read_versions())
    parser = argparse.ArgumentParser(prog="python -m tests.load.peers.install", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(known)} (default: all)")
    names = parser.parse_args(arguments).names or known
    if unknown := set(names) - set(known):
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    failed = 0
    for name in names:
        try:
            install(name, _say)
        except StepFailed as failure:
            _say(f"{name} is left out: {failure}")
            failed = 1
        except KeyboardInterrupt:
            return 130
    return failed


def _key(packages: Sequence[str]) -> str:
    return hashlib.sha256(json.dumps([sys.version, str(CHECKOUT), *packages]).encode()).hexdigest()


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
