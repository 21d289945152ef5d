"""
``python3 -m deploy.local serve | install [EXTRA ...] | triton --repository FOLDER``: check, then do.

The machine is checked before anything else is imported, because an unsupported Python may not get further.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy.local import preflight

_USAGE = (
    "usage: python3 -m deploy.local serve | install [EXTRA ...] | triton --repository FOLDER, "
    "from the checkout's folder"
)


def main(arguments: list[str]) -> int:
    """
    Check the machine, then install, serve, or run Triton alone.

    Args:
        arguments: The command line behind the program's name.

    Returns:
        Exit code: 0 done, 1 a part failed, 2 the machine or a setting is not suitable.
    """
    root = Path.cwd()
    if (
        not arguments
        or arguments[0] not in {"serve", "install", "triton"}
        or not (root / "pyproject.toml").exists()
    ):
        return _refuse([_USAGE])
    serves = arguments[0] == "serve"
    host = os.environ.get("HOST", "").strip() or "127.0.0.1"
    try:
        ports = preflight.read_ports(dict(os.environ)) if serves else {}
        preflight.check_key(os.environ.get("API_KEY", ""))
    except ValueError as error:
        return _refuse([str(error)])
    # Whether it is worth less disk than a fresh installation; the installer itself looks closer.
    is_installed = (root / ".venv" / "bin").exists() and (root / ".triton" / "backends").exists()
    problems = preflight.find_problems(preflight.observe(root, ports, host, is_installed=is_installed))
    if problems:
        return _refuse(problems)
    try:
        return _do(arguments[0], root, arguments[1:], ports, host)
    except KeyboardInterrupt:
        return _refuse(["Interrupted; the next start goes on from here."])


def _do(command: str, root: Path, arguments: list[str], ports: dict[str, int], host: str) -> int:
    """Run a command on a machine that was checked; see the module's docstring for the late imports."""
    if command == "serve":
        from deploy.local import serve  # noqa: PLC0415

        return serve.main(ports, host)
    if command == "triton":
        from deploy.local import triton_only  # noqa: PLC0415

        return triton_only.main(root, arguments)
    from deploy.local import install  # noqa: PLC0415

    return install.main(arguments)


def _refuse(problems: list[str]) -> int:
    for problem in problems:
        print(problem, file=sys.stderr, flush=True)
    return preflight.EXIT_UNSUPPORTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
