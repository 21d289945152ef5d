"""Checks blocks that aren't run: each language by its own tool. What is wrong is raised as an exception."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from tests.e2e.docs.commands import check_commands

if TYPE_CHECKING:
    from collections.abc import Callable


def _bash(text: str) -> None:
    subprocess.run(["bash", "-n"], input=text, check=True, text=True, capture_output=True)
    check_commands(text)


def _console(text: str) -> None:
    assert text.startswith("$ "), "begins with `$ `, and a command"


def _python(text: str) -> None:
    # Await and return may stand at the top of an example.
    body = "\n".join(f"    {line}" for line in text.splitlines())
    compile(f"async def example():\n{body}\n", "example", "exec")


def _js(text: str) -> None:
    if shutil.which("node") is None:
        return
    command = ["node", "--check", "--input-type=module", "-"]
    subprocess.run(command, input=text, check=True, text=True, capture_output=True)


def _pbtxt(text: str) -> None:
    text_format.Parse(text, model_config_pb2.ModelConfig())


def _nginx(text: str) -> None:
    """Read by nginx itself, where Debian's is installed (CI): what stands inside ``http``."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not Path(program).exists():
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "nginx.conf"
        # Certificates are made by the test that runs the page; here it is about the words.
        lines = [line for line in text.splitlines() if "ssl_certificate" not in line]
        body = "\n".join(lines).replace(" ssl;", ";")
        file.write_text(
            f"pid {folder}/pid; error_log stderr; events {{}}\nhttp {{ access_log off;\n{body}\n}}\n"
        )
        done = subprocess.run(
            [program, "-t", "-p", folder, "-c", file], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def _text(text: str) -> None:
    """No tool reads it, so nothing that a tool could read may hide in it; but for examples in a command's help."""
    if text.startswith("Usage: "):
        return
    programs = (
        "curl",
        "docker",
        "kubectl",
        "make",
        "pip",
        "python",
        "python3",
        "triton-export",
        "triton-facade",
    )
    words = ("$ ", "import ", "from ", *(f"{program} " for program in programs))
    for line in text.splitlines():
        assert not line.lstrip().startswith(words), f"{line!r} is code: name its language"


SYNTAX: dict[str, Callable[[str], object]] = {
    "console": _console,
    "js": _js,
    "json": json.loads,
    "nginx": _nginx,
    "pbtxt": _pbtxt,
    "python": _python,
    "sh": _bash,
    "text": _text,
    "toml": tomllib.loads,
    "yaml": lambda text: list(yaml.safe_load_all(text)),
}
"""By language: what takes a block's content and raises where it is wrong."""
