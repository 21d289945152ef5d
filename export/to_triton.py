"""
From the graph to the two Triton models: assembled in staging, published when parity has passed.

The door's folder gets its code, the source's tokenizer byte for byte, and `door.json`: all that the door needs to
know at run time, so that it never reads a config that is shared by all versions.
"""

import json
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from export import releases
from export.artifacts import Draft, Graph, ParityReport, Publication, SourceModel
from export.config_pbtxt import core_config, embedding_door_config
from export.manifest import build_manifest, recipe, runtime_folder, write_manifest
from export.options import ExportOptions
from export.profiles import TargetProfile

DEFAULT_CACHE_TTL_S = 86_400
"""Seconds that the façade may keep a vector: a version's answer never changes, a day bounds the memory."""

RUNTIME_FILES = ("model.py", "tokenizing.py", "batching.py")
"""The door's code, as it is copied into each version."""


def assemble(
    options: ExportOptions, source: SourceModel, graph: Graph, profile: TargetProfile, staging: Path
) -> Draft:
    """
    Lay out both models of a version, complete but for the manifest.

    Args:
        options: What was asked for.

        source: The original's files.

        graph: The converted graph; its files move.

        profile: The target's numbers.

        staging: A folder that nobody reads.

    Returns:
        The version's folders.
    """
    door, core = staging / "door", staging / "core"
    door.mkdir()
    for name in RUNTIME_FILES:
        shutil.copyfile(runtime_folder() / name, door / name)
    shutil.copyfile(source.tokenizer_file, door / "tokenizer.json")
    settings = door_settings(options.core_name, source, graph, profile)
    (door / "door.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    core.mkdir()
    for path in graph.path.parent.iterdir():  # a graph above 2 GiB has its weights in files beside it
        path.rename(core / path.name)
    return Draft(door_folder=door, core_folder=core, graph=graph)


def door_settings(
    core_name: str, source: SourceModel, graph: Graph, profile: TargetProfile
) -> dict[str, Any]:
    """
    Collect what the door needs at run time.

    Args:
        core_name: Triton's name of the core.

        source: The original's files.

        graph: The converted graph.

        profile: The target's numbers.

    Returns:
        The content of `door.json`.
    """
    return {
        "core_model": core_name,
        "core_inputs": list(graph.input_names),
        "core_output": graph.output_name,
        "dimension": graph.dimension,
        "max_input_tokens": source.max_input_tokens,
        "pad_id": source.pad_id,
        "max_batch_size": profile.max_batch_size,
        "grouping": asdict(profile.grouping),
    }


def model_card(source: SourceModel, graph: Graph) -> dict[str, Any]:
    """
    Collect what the façade needs to know, but for the release, which publishing adds.

    Args:
        source: The original's files.

        graph: The converted graph.

    Returns:
        The model card.
    """
    return {
        "task": source.task,
        "model_id": source.model_id,
        "revision": source.revision,
        "created": int(time.time()),
        "dimension": graph.dimension,
        "max_input_tokens": source.max_input_tokens,
        "default_cache_ttl_s": DEFAULT_CACHE_TTL_S,
    }


def publish_model(
    options: ExportOptions, source: SourceModel, profile: TargetProfile, draft: Draft, parity: ParityReport
) -> Publication:
    """
    Publish a version that passed parity, as the new stable one.

    Args:
        options: What was asked for.

        source: The original's files.

        profile: The target's numbers.

        draft: The version's folders; they move.

        parity: The comparison's figures.

    Returns:
        What was published.

    Raises:
        RepositoryError: If it can't be written; the release is then as it was.
    """
    card = model_card(source, draft.graph)
    manifest = build_manifest(recipe(options, source, profile), draft, parity, options.name, card)
    write_manifest(draft.door_folder, manifest)

    def make_configs(stable: int, core_versions: list[int]) -> tuple[Any, Any]:
        released_card = card | {"release": {"stable": stable}}
        door = embedding_door_config(options.name, released_card, profile, [stable])
        core = core_config(options.core_name, draft.graph, profile, core_versions)
        return door, core

    with releases.lock_repository(options.repository):
        version = releases.publish(options.repository, (options.name, options.core_name), draft, make_configs)
    return Publication(options.name, version, options.repository, manifest)
