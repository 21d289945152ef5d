"""
From the graph to the two Triton models: assembled in staging, published when parity has passed.

The door's folder gets its code, the source's files that it needs byte for byte, and `door.json`: all that the door
needs to know at run time, so that it never reads a config that is shared by all versions.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from export import releases
from export.artifacts import Draft, Graph, ParityReport, Publication, SourceModel
from export.config_core import ONNXRUNTIME, core_config
from export.engines import CoreEngine
from export.following import connected
from export.manifest import build_manifest, recipe, write_manifest
from export.options import ExportOptions
from export.profiles import TargetProfile
from export.runtime import runtime_files
from export.tasks import load_task
from export.transition import keep_configs


def assemble(
    options: ExportOptions, source: SourceModel, graph: Graph, profile: TargetProfile, staging: Path
) -> Draft:
    """
    Lay out all of a version, complete but for the manifest.

    Args:
        options: What was asked for.

        source: The original's files.

        graph: The graph in its final precision; its files move.

        profile: The target's numbers.

        staging: A folder that nobody reads, without `door` and `core` in it.

    Returns:
        The version's folders.
    """
    files = load_task(source.task, options).door_files(source, graph, profile)
    door, core = staging / "door", staging / "core"
    door.mkdir()
    code = runtime_files(source.task) if files.has_code else []
    for path in (*code, *files.copied):
        shutil.copyfile(path, door / path.name)
    settings = files.settings | ({"core_model": options.core_name} if files.has_core else {})
    if files.settings_file is not None:
        (door / files.settings_file).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    graph_home = core if files.has_core else door
    graph_home.mkdir(exist_ok=True)
    for path in graph.path.parent.iterdir():  # a graph above 2 GiB has its weights in files beside it
        path.rename(graph_home / path.name)
    moved = replace(graph, path=graph_home / graph.path.name)
    return Draft(door_folder=door, core_folder=core if files.has_core else None, graph=moved)


def publish_model(
    options: ExportOptions,
    source: SourceModel,
    profile: TargetProfile,
    draft: Draft,
    parity: ParityReport,
    *,
    engine: CoreEngine = ONNXRUNTIME,
    made: Mapping[str, Any] = MappingProxyType({}),
) -> Publication:
    """
    Publish a version that passed parity: as the new stable one, or only on disk where a candidate is wanted.

    Args:
        options: What was asked for.

        source: The original's files.

        profile: The target's numbers.

        draft: The version's folders; they move.

        parity: The comparison's figures.

        engine: What runs the core.

        made: What the manifest records beside: precisions that were tried, hardware it was verified on.

    Returns:
        What was published.

    Raises:
        FollowFailed: If a Triton that is to follow couldn't load it; the release is then as it was.

        RepositoryError: If it can't be written; the release is then as it was.
    """
    task = load_task(source.task, options)
    card = task.card(source, draft.graph)

    def make_configs(stable: int, core_versions: list[int]) -> tuple[Any, Any | None]:
        released_card = card | {"release": {"stable": stable}}
        door = task.door_config(options.name, released_card, profile, [stable])
        if draft.core_folder is None:
            return door, None
        return door, core_config(options.core_name, draft.graph, profile, core_versions, engine)

    keep_configs(draft, *make_configs(1, [1]))
    found = build_manifest(recipe(options, source, profile), draft, parity, options.name, card)
    manifest = {**found, **made}
    write_manifest(draft.door_folder, manifest)

    with connected(options.tritons) as follower, releases.lock_repository(options.repository):
        version = releases.publish(
            options.repository,
            (options.name, options.core_name),
            draft,
            make_configs,
            is_candidate=options.candidate,
            follower=follower,
        )
        is_stable = releases.stable_version(options.repository, options.name) == version
    return Publication(options.name, version, options.repository, manifest, is_stable=is_stable)
