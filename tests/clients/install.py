"""
Installs the clients, each into an environment of its own: ``python -m tests.clients.install [NAME …]``.

They lie below `.clients`; versions are in versions.toml. An environment's stamp says what it was made of; while it
holds, nothing is done. A client that can't be installed is left out with a sentence; the others are installed all the
same.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tomllib
from pathlib import Path

import click

from deploy.local.steps import StepFailed, run_step

FOLDER = Path(__file__).resolve().parents[2] / ".clients"
VERSIONS = Path(__file__).with_name("versions.toml")
NODE = "node"
"""The one that npm installs."""


def read_versions() -> dict[str, list[str]]:
    """
    Read what the environments are made of.

    Returns:
        What pip or npm is told, by the client's name.
    """
    content = tomllib.loads(VERSIONS.read_text(encoding="utf-8"))
    return {name: [*table.get("options", ()), *table["packages"]] for name, table in content.items()}


def python_of(name: str) -> Path:
    """
    Tell which interpreter runs a client.

    Args:
        name: The client's.

    Returns:
        A path; it may not exist yet.
    """
    return FOLDER / name / "bin" / "python"


def is_installed(name: str) -> bool:
    """
    Tell whether a client is there, in the versions that are asked for.

    Args:
        name: The client's.

    Returns:
        Whether nothing is left to do.
    """
    stamp = FOLDER / name / ".stamp"
    return stamp.exists() and stamp.read_text(encoding="utf-8") == json.dumps(read_versions()[name])


def install(name: str) -> None:
    """
    Install one client.

    Args:
        name: Its name in versions.toml.

    Raises:
        StepFailed: If that fails.
    """
    if is_installed(name):
        return
    folder, asked = FOLDER / name, read_versions()[name]
    folder.mkdir(parents=True, exist_ok=True)
    if name == NODE:
        npm = shutil.which("npm")
        if npm is None:
            raise StepFailed("npm isn't installed")
        _step(
            name, "npm installs", [npm, "install", "--no-audit", "--no-fund", "--prefix", str(folder), *asked]
        )
    else:
        _step(name, "an environment for", [sys.executable, "-m", "venv", str(folder)])
        _step(name, "pip installs", [str(python_of(name)), "-m", "pip", "install", "-q", *asked])
    (folder / ".stamp").write_text(json.dumps(asked), encoding="utf-8")


def _step(name: str, what: str, command: list[str]) -> None:
    run_step(
        f"{what} {name}",
        command,
        log=FOLDER / f"{name}.log",
        folder=FOLDER,
        say=lambda line: click.echo(line, err=True),
        remedy=f"read {FOLDER / name}.log",
    )


def main() -> None:
    """Install those that are named, or all."""
    parser = argparse.ArgumentParser(description="Install the clients that `make test-clients` runs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(read_versions())}")
    names = parser.parse_args().names or [*read_versions()]
    for name in names:
        try:
            install(name)
        except StepFailed as error:
            sys.stderr.write(f"{name} is left out: {error}\n")


if __name__ == "__main__":
    main()
