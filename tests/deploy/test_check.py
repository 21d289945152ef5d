"""`make deploy-check` itself: a line a check, and a failure that is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deploy.check import __main__ as check
from deploy.check import tools

if TYPE_CHECKING:
    from pathlib import Path


def test_a_failure_is_told_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the tool's own words, and exit code 1."""

    def find_fault() -> str:
        check._run("sh", "-c", "echo line 3 is wrong >&2; exit 4")
        return "never"

    monkeypatch.setattr(check, "CHECKS", {"strict": find_fault, "kind": lambda: "all of it"})

    assert check.main() == 1
    told = capsys.readouterr().out
    assert "strict: FAILED" in told
    assert "line 3 is wrong" in told
    assert "kind: all of it" in told


def test_a_tool_that_is_missing_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no skipped line."""
    with pytest.raises(tools.ToolMissing, match="no-such-tool is not installed"):
        check._run("no-such-tool")


def test_an_old_compose_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose 1 knows another file format; one of today on the PATH is taken as it is."""
    program = tmp_path / "docker-compose"
    fetched = tmp_path / tools.PLACES["docker-compose"]
    fetched.parent.mkdir(parents=True)
    fetched.touch()
    monkeypatch.setattr(tools, "FOLDER", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for version, expected in (("1.29.2", fetched), ("v2.26.1", program)):
        program.write_text(f"#!/bin/sh\necho {version}\n")
        program.chmod(0o755)
        assert tools.find_tool("docker-compose") == expected


def test_what_cant_be_fetched_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In apt's own words."""
    monkeypatch.setattr(tools, "FOLDER", tmp_path / "tools")
    monkeypatch.setattr(tools, "SOURCE", f"deb [trusted=yes] file:{tmp_path}/nowhere trixie main\n")
    monkeypatch.setenv("PATH", "/usr/bin:/bin")

    with pytest.raises(tools.ToolMissing, match="apt-get failed"):
        tools.find_tool("kustomize")
