"""Completion in real shells, as far as they are installed; bash is everywhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from export.cli import main as export
from facade.__main__ import main as facade

PROGRAMS = {"triton-facade": ("facade.__main__", facade), "triton-export": ("export.cli", export)}
CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both programs on the PATH, a repository and a keys file."""
    folder = tmp_path_factory.mktemp("completion")
    for name, (module, _) in PROGRAMS.items():
        program = folder / name
        # The console script belongs to whichever checkout was installed.
        program.write_text(
            f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
            f"from {module} import main\nmain()\n"
        )
        program.chmod(0o755)
    for name in ("minilm/1", "minilm/2", "minilm_core/1", "tiny-chat/1"):
        version = folder / "model_repository" / name
        version.mkdir(parents=True)
        version.with_name("config.pbtxt").write_text("")
    made = CliRunner().invoke(facade, ["keys", "new", "alice", "--file", str(folder / "keys.yaml")])
    assert made.exit_code == 0
    return folder


def complete(folder: Path, line: str) -> list[str]:
    """Press Tab at a line's end in a real bash; give what it offers."""
    program, *_ = words = line.split(" ")
    quoted = " ".join(word or "''" for word in words)
    script = (
        f'eval "$({program} completion bash)"\n'
        f"COMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n"
        f"_{program.replace('-', '_')}_completion {program}\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    return run_shell(folder, "bash", "--norc", "-c", script)


def run_shell(folder: Path, *command: str) -> list[str]:
    """Run a shell with both programs on its PATH; give the words that it prints."""
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)},
    )  # fmt: skip
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("triton-facade d", ["doctor"]),
        ("triton-facade keys re", ["revoke"]),
        ("triton-facade keys revoke --file keys.yaml a", ["alice"]),
        ("triton-facade keys new bob --file keys.yaml --tier d", ["default"]),
        ("triton-facade cache purge --model t", ["tiny-chat"]),
        ("triton-export show ", ["minilm", "tiny-chat"]),
        ("triton-export show --repository elsewhere ", []),
        ("triton-export verify minilm ", ["2", "1"]),
        ("triton-export export x --task te", ["text-classification", "text-generation"]),
        ("triton-export export x --target v", ["v100", "v100-32gb"]),
        ("triton-export export x --precision b", ["bf16"]),
        ("triton-export export x --engine v", ["vllm"]),
        ("triton-export export --sk", ["--skip-existing"]),
    ],
)
def test_bash_completes_commands_options_and_names(folder: Path, line: str, offered: list[str]) -> None:
    """What is offered is all that the line's end can become."""
    assert complete(folder, line) == offered


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_each_shell_can_read_its_script(name: str, shell: str) -> None:
    """Without the shell the script is only looked at."""
    printed = CliRunner().invoke(PROGRAMS[name][1], ["completion", shell])

    assert printed.exit_code == 0
    assert f"_{name.replace('-', '_').upper()}_COMPLETE={shell}_complete" in printed.stdout
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=printed.stdout, text=True, check=True, timeout=20)


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes_too(folder: Path) -> None:
    """Asked as a press of Tab asks it."""
    script = 'triton-export completion fish | source; complete -C "triton-export show t"'

    assert run_shell(folder, "fish", "--no-config", "-c", script) == ["tiny-chat"]


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_takes_the_script(folder: Path) -> None:
    """It is registered for the program, where completion is switched on as usual."""
    script = (
        "autoload -U compinit; compinit -D -u; "
        'eval "$(triton-export completion zsh)"; print $_comps[triton-export]'
    )

    assert run_shell(folder, "zsh", "-f", "-c", script) == ["_triton_export_completion"]


def test_an_unknown_shell_is_refused() -> None:
    """The known ones are listed."""
    refused = CliRunner().invoke(facade, ["completion", "tcsh"])

    assert refused.exit_code == 2
    assert "bash" in refused.stderr
