"""
Finds the two validators that neither PyPI nor Debian 12 has: Kustomize and Compose 2.

1. On the PATH, if they are there.
2. In `.deploy-tools`, unpacked from Debian 13's packages by a private apt: nothing of the system is touched.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / ".deploy-tools"

SOURCE = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main\n"
"""Debian 13, a release that is stable: its versions don't vanish (kustomize 5.6, docker-compose 2.26)."""

PLACES = {"kustomize": "usr/bin/kustomize", "docker-compose": "usr/libexec/docker/cli-plugins/docker-compose"}
"""Where each is in its package, which has the same name."""


class ToolMissing(Exception):
    """A validator can't be had; the message says why."""


def find_tool(name: str) -> Path:
    """
    Find a validator, and fetch it where there is none.

    Args:
        name: ``kustomize`` or ``docker-compose``.

    Returns:
        The program.

    Raises:
        ToolMissing: If it can't be fetched.
    """
    on_path = shutil.which(name)
    if on_path is not None and _is_current(name, on_path):
        return Path(on_path)
    program = FOLDER / PLACES[name]
    if not program.exists():
        _fetch(name)
    return program


def _is_current(name: str, program: str) -> bool:
    """Tell whether a program is new enough: Debian 12's docker-compose is 1, which knows another file format."""
    if name != "docker-compose":
        return True
    found = subprocess.run([program, "version", "--short"], capture_output=True, text=True, check=False)
    return found.stdout.lstrip("v").startswith(("2", "3", "4", "5"))


def _fetch(name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # apt drops its rights while it downloads.
        root.chmod(0o755)
        for needed in ("lists/partial", "cache/archives/partial", "packages"):
            (root / needed).mkdir(parents=True)
        (root / "status").touch()
        (root / "sources.list").write_text(SOURCE)
        options = {
            "Dir::State": root,
            "Dir::State::lists": root / "lists",
            "Dir::State::status": root / "status",
            "Dir::Cache": root / "cache",
            "Dir::Etc::sourcelist": root / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",
        }
        apt = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in options.items())]
        _run([*apt, "update"], root)
        missing = [tool for tool, place in PLACES.items() if tool == name or not (FOLDER / place).exists()]
        _run([*apt, "download", *missing], root / "packages")
        for package in (root / "packages").glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(FOLDER)], root)


def _run(command: list[str], folder: Path) -> None:
    try:
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=300)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolMissing(f"{command[0]}: {error}") from None
    if found.returncode != 0:
        raise ToolMissing(f"{' '.join(command[:1])} failed: {(found.stdout + found.stderr).strip()[-500:]}")
