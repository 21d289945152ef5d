"""
The provenance of one version: where it came from, what made it, what its files hash to, how it compared.

`manifest.json` lies in the door's version folder and is written last, so it can name every other file.
"""

import hashlib
import json
import platform
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from export.artifacts import Draft, ParityReport, SourceModel
from export.options import ExportOptions
from export.profiles import TargetProfile
from export.runtime import runtime_fingerprint

MANIFEST_FILE = "manifest.json"
"""Name of the file in the door's version folder."""

SCHEMA = 1
"""Raised when a reader of older manifests would misread a new one."""

_PIECE_BYTES = 4 * 1024**2

_SECTIONS = ("recipe", "tools", "graph", "parity", "files")
"""What every manifest has, each a JSON object; one that lacks some was edited by hand."""

_TOOLS = (
    "onnx",
    "onnxruntime",
    "onnxruntime-genai",
    "optimum",
    "optimum-onnx",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
    "triton-facade",
)


def build_manifest(
    made_by: dict[str, Any], draft: Draft, parity: ParityReport, name: str, card: dict[str, Any]
) -> dict[str, Any]:
    """
    Collect everything about a version that passed parity.

    Args:
        made_by: The version's recipe.

        draft: Both assembled models.

        parity: The comparison's figures.

        name: The model's name.

        card: The model card without its release, so that a config can be written again from the manifest alone.

    Returns:
        The manifest.
    """
    return {
        "schema": SCHEMA,
        "name": name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": made_by,
        "tools": tool_versions(),
        "graph": {
            "inputs": list(draft.graph.input_names),
            "output": draft.graph.output_name,
            "width": draft.graph.width,
            "opset": draft.graph.opset,
            "precision": draft.graph.precision,
        },
        "card": card,
        "parity": parity.to_json(),
        "files": hash_files(draft),
    }


def recipe(options: ExportOptions, source: SourceModel, profile: TargetProfile) -> dict[str, Any]:
    """
    Name everything that decides what an export makes, tools aside: two equal recipes make equal models.

    Args:
        options: What was asked for.

        source: The original's files.

        profile: The target's numbers.

    Returns:
        The recipe, as JSON values.
    """
    generation = {"generation": options.generation.to_json()} if source.task == "text-generation" else {}
    return {
        "model_id": source.model_id,
        "revision": source.revision,
        "source_fingerprint": source.fingerprint,
        "task": source.task,
        "target": options.target,
        "engine": options.engine,
        "accelerator": options.accelerator,
        "precision": options.precision,
        "profile": profile.to_json(),
        "runtime_fingerprint": runtime_fingerprint(source.task),
        **generation,
    }


def tool_versions() -> dict[str, str]:
    """
    List the versions of what made a model.

    Returns:
        Version by package, and Python's.
    """
    return {"python": platform.python_version()} | {tool: metadata.version(tool) for tool in _TOOLS}


def hash_files(draft: Draft) -> dict[str, str]:
    """
    Hash every file of a version.

    Args:
        draft: Both assembled models.

    Returns:
        SHA-256 by path; a path is `door/…` or `core/…`, without the version, which is given when publishing.
    """
    core = {} if draft.core_folder is None else hash_folder("core", draft.core_folder)
    return hash_folder("door", draft.door_folder) | core


def hash_folder(
    part: str, folder: Path, on_bytes: Callable[[int], object] = lambda _size: None
) -> dict[str, str]:
    """
    Hash every file of one of a version's folders.

    Args:
        part: `door` or `core`.

        folder: The folder.

        on_bytes: Told of each piece that was read, by its size.

    Returns:
        SHA-256 by path, which begins with *part*.
    """
    hashes: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        # NOTE: Triton's stub writes __pycache__ into a served version, whatever the environment says.
        if path.is_file() and path.name != MANIFEST_FILE and path.parent.name != "__pycache__":
            hashes[f"{part}/{path.relative_to(folder).as_posix()}"] = _hash_file(path, on_bytes)
    return hashes


def _hash_file(path: Path, on_bytes: Callable[[int], object]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
            on_bytes(len(piece))
    return digest.hexdigest()


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """
    Write a manifest into a version folder that isn't published yet.

    Args:
        folder: The door's version folder.

        manifest: Its content.
    """
    text = json.dumps(manifest, indent=2, ensure_ascii=False)
    (folder / MANIFEST_FILE).write_text(text + "\n", encoding="utf-8")


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """
    Read the manifest of a version.

    Args:
        folder: The door's version folder.

    Returns:
        The manifest, or None if there is none that can be read.
    """
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        return None
    return manifest if all(isinstance(manifest.get(section), dict) for section in _SECTIONS) else None
