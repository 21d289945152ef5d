"""What is built of the checkout: a wheel with all files, the same for everybody, by the version of a tag."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

CHECKOUT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools import build_meta as b; getattr(b, 'build_' + sys.argv[1])(sys.argv[2])"
SOURCE_DATE_EPOCH = "1700000000"


def listed(*paths: str) -> list[str]:
    """Files that git knows, or would add."""
    found = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--deduplicate", *paths],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [name for name in found.stdout.splitlines() if (CHECKOUT / name).exists()]


def copy_checkout(folder: Path, *, mode: int) -> Path:
    """Copy what belongs to the project, all files with one mode."""
    for name in listed():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(CHECKOUT / name, target)
        target.chmod(mode)
    return folder


def build(kind: str, folder: Path, into: Path, umask: int = 0o022, **variables: str) -> Path:
    """Build a wheel or an sdist as pip does, with what is installed here."""
    into.mkdir()
    subprocess.run(
        [sys.executable, "-c", BUILD, kind, str(into)],
        cwd=folder,
        env={**os.environ, "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, **variables},
        umask=umask,
        capture_output=True,
        check=True,
        timeout=120,
    )
    (found,) = into.iterdir()
    return found


def git(folder: Path, *arguments: str) -> None:
    """Run git as somebody, without anybody's own settings."""
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture(name="tagged", scope="module")
def _tagged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of the checkout as it is, at the tag v3.2.1."""
    folder = copy_checkout(tmp_path_factory.mktemp("tagged"), mode=0o644)
    git(folder, "init", "-q")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "One")
    git(folder, "tag", "v3.2.1")
    return folder


@pytest.fixture(name="wheel", scope="module")
def _wheel(tagged: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its wheel."""
    return build("wheel", tagged, tmp_path_factory.mktemp("wheel") / "dist")


def test_a_wheel_has_the_version_of_its_tag(wheel: Path) -> None:
    """In its name, and so for pip."""
    assert wheel.name == "triton_facade-3.2.1-py3-none-any.whl"


def test_a_wheel_has_every_file_of_its_packages(wheel: Path) -> None:
    """Pages, templates and marks of types too, and nothing else."""
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}

    assert names == set(listed("facade", "export"))
    assert {"facade/py.typed", "export/py.typed", "export/runtime/text_encoder/model.py"} <= names


def test_a_wheel_has_the_same_bytes_whoever_builds_it(wheel: Path, tmp_path: Path) -> None:
    """From another folder, files of other times and modes, another umask, and without git."""
    folder = copy_checkout(tmp_path / "other", mode=0o600)
    for path in folder.rglob("*.py"):
        os.utime(path, (1, 1))
    other = build(
        "wheel",
        folder,
        tmp_path / "dist",
        umask=0o077,
        SETUPTOOLS_SCM_PRETEND_VERSION_FOR_TRITON_FACADE="3.2.1",
    )

    assert other.read_bytes() == wheel.read_bytes()


def test_an_sdist_is_the_checkout(tagged: Path, wheel: Path, tmp_path: Path) -> None:
    """Tests and Makefile included; the wheel that is built of it is the same."""
    sdist = build("sdist", tagged, tmp_path / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "triton_facade-3.2.1"
    missing = [name for name in listed() if not (folder / name).exists()]

    assert missing == []
    assert build("wheel", folder, tmp_path / "again").read_bytes() == wheel.read_bytes()


def test_versions_follow_the_tags(tagged: Path, tmp_path: Path) -> None:
    """A commit later it is one of the next version's; without git or a tag it is before the first."""

    def version(folder: Path) -> str:
        command = [sys.executable, "-W", "ignore", "-m", "setuptools_scm"]
        found = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return found.stdout.strip()

    later = tmp_path / "later"
    git(tmp_path, "clone", "-q", str(tagged), str(later))
    git(later, "commit", "-q", "--allow-empty", "-m", "Two")
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(CHECKOUT / "pyproject.toml", bare)

    assert version(tagged) == "3.2.1"
    assert version(later).startswith("3.2.2.dev1+g")
    assert version(bare) == "0.1.dev0"


EXTRA = {
    "huggingface_hub",
    "llguidance",
    "onnx",
    "onnx_ir",
    "onnxruntime",
    "onnxruntime_genai",
    "optimum",
    "PIL",
    "sentence_transformers",
    "tokenizers",
    "torch",
    "transformers",
}
"""What only the extra `export` brings, as it is imported."""

WITHOUT_EXTRA = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(EXTRA)!r}))
from {{program}}.__main__ import main
sys.argv[0] = "program"
main()
"""


def run_light(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program as if the extra weren't installed."""
    code = WITHOUT_EXTRA.format(program=program)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def test_what_is_installed_without_extras_is_light() -> None:
    """None of what the façade asks for asks for PyTorch in its turn."""
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in project["dependencies"]]
    names: set[str] = set()
    while waiting:
        wanted = waiting.pop()
        if wanted.name in names:
            continue
        names.add(wanted.name)
        further = map(Requirement, importlib.metadata.requires(wanted.name) or ())
        extras = wanted.extras or {""}
        waiting += [
            found
            for found in further
            if not found.marker or any(found.marker.evaluate({"extra": extra}) for extra in extras)
        ]

    assert {"grpcio", "pydantic", "starlette"} <= names
    assert not names & {"torch", "transformers", "onnx", "onnxruntime", "huggingface-hub", "tokenizers"}


@pytest.mark.parametrize("program", ["facade", "export"])
def test_help_needs_no_extra(program: str) -> None:
    """Both commands are there from the beginning."""
    assert run_light(program, "--help").returncode == 0


@pytest.mark.parametrize("preview", [(), ("--dry-run",)])
def test_a_command_that_needs_the_extra_says_so(preview: tuple[str, ...], tmp_path: Path) -> None:
    """In a sentence, with what to do."""
    ended = run_light("export", "export", str(tmp_path), "--name", "some", *preview)

    assert ended.returncode == 7, ended.stderr
    assert "pip install 'triton-facade[export]'" in ended.stderr
    assert "Traceback" not in ended.stderr
