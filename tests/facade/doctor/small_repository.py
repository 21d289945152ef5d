"""A model repository as `triton-export` writes it, of a few bytes: a door, its core, a manifest."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


def write_config(folder: Path, *, backend: str, card: dict[str, Any] | None, versions: str = "1") -> None:
    """Write a model's config."""
    text = f'name: "{folder.name}"\nbackend: "{backend}"\nversion_policy {{ specific {{ versions: [{versions}] }} }}\n'
    if card is not None:
        text += (
            f'parameters {{ key: "model_card" value {{ string_value: {json.dumps(json.dumps(card))} }} }}\n'
        )
    (folder / "config.pbtxt").write_text(text)


def write_repository(repository: Path) -> Path:
    """Write the model `minilm`, stable version 1, and its core."""
    contents = {"door/model.py": b"# a door\n", "door/__init__.py": b"", "core/model.onnx": b"a graph"}
    for path, content in contents.items():
        part, _, name = path.partition("/")
        folder = repository / ("minilm" if part == "door" else "minilm_core") / "1"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    files = {path: hashlib.sha256(content).hexdigest() for path, content in contents.items()}
    (repository / "minilm/1/manifest.json").write_text(json.dumps({"schema": 1, "files": files}))
    card = {"task": "embedding", "dimension": 8, "release": {"stable": 1}}
    write_config(repository / "minilm", backend="python", card=card)
    write_config(repository / "minilm_core", backend="onnxruntime", card=None)
    return repository
