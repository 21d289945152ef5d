"""The Dockerfiles: everything pinned, nobody root, the images that the targets name."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

from export.targets import CURRENT, VOLTA

CHECKOUT = Path(__file__).parents[2]
DOCKER = CHECKOUT / "deploy" / "docker"
DOCKERFILES = sorted(DOCKER.glob("*.Dockerfile"))
TRITON = (DOCKER / "triton.Dockerfile").read_text()


def pins(path: Path) -> dict[str, str]:
    """Versions by package; a marker of another Python is left out."""
    found = {}
    for line in path.read_text().splitlines():
        match = re.fullmatch(r"([\w-]+)==([\w.]+)(; python_version < .*)?", line)
        if match:
            found[match[1]] = match[2]
    return found


def stages(text: str) -> dict[str, str]:
    """Lines of each stage, by its name; the last may have none."""
    parts = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    return {(re.match(r"\S+ AS (\S+)", part) or [part, ""])[1]: part for part in parts}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_bases_and_packages_are_pinned(path: Path) -> None:
    """A tag that begins with a number; a version for whatever pip is told by name."""
    text = path.read_text()
    names = set(stages(text))
    for base in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert base in names or re.search(r":\d[\w.-]*$", base), base
    for command in re.findall(r"pip install(.*?)(?:\n(?! )|&&|$)", text.replace("\\\n", " "), re.DOTALL):
        words = [word for word in command.split() if not word.startswith(("-", "/", '"$', "constraints.txt"))]
        for word in words:
            assert word in {".", "'.[otel]'", "'.[export]'"} or "==" in word, word
        is_bounded = any(part in command for part in ("==", "-c constraints.txt", "--no-deps"))
        assert is_bounded, command


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_nobody_is_root(path: Path) -> None:
    """Each stage that is run ends as a user by number."""
    for name, stage in stages(path.read_text()).items():
        if name == "build":
            continue
        users = re.findall(r"^USER (\S+)", stage, re.MULTILINE)
        assert users, name
        assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), name


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_is_copied_can_be_seen(path: Path) -> None:
    """.dockerignore lets in what the build asks for, and it exists."""
    allowed = [
        line[1:] for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    ]
    for line in re.findall(r"^COPY (?!--from)(.*)$", path.read_text(), re.MULTILINE):
        for source in line.split()[:-1]:
            assert (CHECKOUT / source).exists(), source
            assert any(Path(source).match(pattern) for pattern in allowed), source


def test_no_secret_and_no_model_gets_into_an_image() -> None:
    """Everything is left out that isn't named."""
    lines = [
        line for line in (CHECKOUT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"
    ]

    assert lines[0] == "*"
    assert not {"secrets", "model_repository", ".env", ".git"} & {line.lstrip("!/") for line in lines}


def test_tritons_images_are_those_of_the_targets() -> None:
    """What `triton-export targets` says of a GPU is what is built for it."""
    bases = {name: stage.split()[0] for name, stage in stages(TRITON).items()}

    assert bases["current"] == CURRENT.triton_image == CURRENT.triton_tensorrt_image
    assert bases["v100"] == VOLTA.triton_image
    assert bases["v100-tensorrt"] == VOLTA.triton_tensorrt_image
    assert bases["vllm"].removesuffix("-vllm-python-py3") == CURRENT.triton_image.removesuffix("-py3")
    export = stages((DOCKER / "export.Dockerfile").read_text())
    assert export["a100-tensorrt"].split()[0] in CURRENT.tensorrt_install
    assert "tensorrt-cu12==10.4.0" in export["v100-tensorrt"]
    assert "tensorrt-cu12==10.4.0" in VOLTA.tensorrt_install


def test_models_get_what_they_get_on_this_machine() -> None:
    """The packages inside Triton are those that the tests run with; Python 3.10 has older ones of two."""
    here = pins(CHECKOUT / "deploy" / "local" / "triton-requirements.txt")
    current = pins(DOCKER / "triton-python3.12.txt")
    volta = pins(DOCKER / "triton-python3.10.txt")

    assert here.items() <= current.items()
    assert set(volta) == set(current)
    assert {name for name in volta if volta[name] != current[name]} == {"onnxruntime", "pillow"}


def test_what_models_import_is_installed() -> None:
    """By the files that run inside Triton."""
    imported = set()
    for path in (CHECKOUT / "export" / "runtime").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"triton_python_backend_utils"}
    names = {"PIL": "pillow"}

    assert {names.get(name, name) for name in foreign} <= set(pins(DOCKER / "triton-python3.12.txt"))
