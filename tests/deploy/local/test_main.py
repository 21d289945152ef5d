"""The command line: what it refuses before anything is installed, and with which exit code."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploy.local import __main__ as program
from deploy.local import install as installer
from deploy.local import preflight


@pytest.fixture(name="checkout", autouse=True)
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout, and none of the variables that the user of the tests may have set."""
    (tmp_path / "pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)
    for variable in (*preflight.DEFAULT_PORTS, "API_KEY", "HOST"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path


@pytest.mark.parametrize("arguments", [[], ["sell"]])
def test_an_unknown_command_gets_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, as usual for that."""
    assert program.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("PORT", "http", "PORT must be a port number from 1 to 65535, and 'http' is none.\n"),
        ("TRITON_GRPC_PORT", "8080", "TRITON_GRPC_PORT and PORT are both 8080: set another"),
        ("API_KEY", "a b", "API_KEY must be made of visible ASCII characters"),
    ],
)
def test_a_bad_setting_is_one_sentence(
    variable: str,
    value: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing has been made by then."""
    monkeypatch.setenv(variable, value)

    assert program.main(["serve"]) == 2

    assert sentence in capsys.readouterr().err
    assert [path.name for path in Path.cwd().iterdir()] == ["pyproject.toml"]


def test_a_taken_port_is_told_before_anything_is_installed(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the variable that sets another."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        monkeypatch.setenv("TRITON_HTTP_PORT", str(listener.getsockname()[1]))

        assert program.main(["serve"]) == 2

    assert "make serve TRITON_HTTP_PORT=" in capsys.readouterr().err
    assert [path.name for path in checkout.iterdir()] == ["pyproject.toml"]


def test_an_unsuitable_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The installer is not even imported; ports are no matter for an installation."""
    monkeypatch.setattr(preflight, "find_libpython_dir", lambda: None)
    monkeypatch.setenv("PORT", "http")

    assert program.main(["install"]) == 2

    assert "apt install libpython" in capsys.readouterr().err


def test_an_installation_is_passed_its_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its exit code is the program's."""
    seen: list[object] = []

    def take_note(extras: object) -> int:
        seen.append(extras)
        return 1

    monkeypatch.setattr(installer, "main", take_note)

    assert program.main(["install", "export", "test"]) == 1
    assert seen == [["export", "test"]]


def test_an_interrupted_installation_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line instead."""

    def interrupt(_extras: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(installer, "main", interrupt)

    assert program.main(["install"]) == 2
    assert capsys.readouterr().err == "Interrupted; the next start goes on from here.\n"
