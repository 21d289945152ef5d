"""A repository of toy models for tests of releases: real configs and folders, and a word for a model."""

import itertools
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from export import releases
from export.artifacts import Draft
from export.config_pbtxt import WARMUP_NAME, read_config, served_versions
from export.disk import versions_on_disk
from export.release_state import Release
from export.transition import Folders, keep_configs, read_state

NAME, CORE_NAME = "tiny", "tiny_core"


def make_configs(dimension: int = 4, *, has_core: bool = True, labels: tuple[str, ...] = ()) -> Any:
    """Give what makes both configs of a model whose answers are so wide."""

    def make(stable: int, core_versions: list[int]) -> tuple[Any, Any | None]:
        door = model_config_pb2.ModelConfig(name=NAME, backend="python", max_batch_size=8)
        door.input.add(name="text", data_type=model_config_pb2.TYPE_STRING, dims=[1])
        door.output.add(name="embedding", data_type=model_config_pb2.TYPE_FP32, dims=[dimension])
        card = {"task": "embedding", "dimension": dimension, "labels": labels, "release": {"stable": stable}}
        door.parameters["model_card"].string_value = json.dumps(card)
        door.version_policy.specific.versions.append(stable)
        if not has_core:
            return door, None
        core = model_config_pb2.ModelConfig(name=CORE_NAME, backend="onnxruntime", max_batch_size=8)
        core.model_warmup.add(name=WARMUP_NAME, batch_size=1)
        core.version_policy.specific.versions.extend(core_versions)
        return door, core

    return make


def publish_text(
    repository: Path,
    text: str = "x",
    *,
    dimension: int = 4,
    has_core: bool = True,
    labels: tuple[str, ...] = (),
    **options: Any,
) -> int:
    """Publish a version whose files hold *text*."""
    releases.open_repository(repository)
    with releases.staging_folder(repository) as staging:
        folders = []
        for part in ("door", "core"):
            folder = staging / part
            folder.mkdir()
            (folder / "content").write_text(text)
            folders.append(folder)
        draft = Draft(folders[0], folders[1] if has_core else None, None)  # type: ignore[arg-type]  # no graph in it
        configs = make_configs(dimension, has_core=has_core, labels=labels)
        keep_configs(draft, *configs(1, [1]))
        with releases.lock_repository(repository):
            return releases.publish(repository, (NAME, CORE_NAME), draft, configs, **options)


def state(repository: Path) -> Release:
    """Read the toy model's release."""
    release = read_state(Folders(repository, NAME))
    assert release is not None
    return release


def assert_consistent(repository: Path) -> None:
    """Check what a reader relies on: no missing version, and every served door has its served core."""
    served: list[list[int]] = []
    for name in (NAME, CORE_NAME):
        config = read_config(repository / name)
        assert config is not None or not (repository / name).exists()
        versions = [] if config is None else served_versions(config)
        for version in versions:
            assert (repository / name / str(version) / "content").is_file()
        served.append(versions)
    assert set(served[0]) <= set(served[1]) or not (repository / CORE_NAME).exists()
    if (repository / NAME).exists():
        assert set(state(repository).versions) <= set(served[0])


def assert_settled(repository: Path) -> None:
    """Check that nothing is left to do: both configs serve the release alone, and every door has its core."""
    assert_consistent(repository)
    for name in (NAME, CORE_NAME):
        config = read_config(repository / name)
        assert config is not None
        assert served_versions(config) == list(state(repository).versions)
    assert versions_on_disk(repository / NAME) == versions_on_disk(repository / CORE_NAME)


def leftovers(repository: Path) -> list[str]:
    """Name the staging folders beside a repository."""
    return [path.name for path in repository.parent.iterdir() if "staging" in path.name]


class Killed(BaseException):
    """Stands for the end of the process."""


def die_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the process "die" just before its fsync or rename of the given number."""
    count = itertools.count()
    for name in ("fsync", "rename", "replace"):

        def counted(real: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
            if next(count) == step:
                raise Killed
            return real(*args, **kwargs)

        monkeypatch.setattr(os, name, partial(counted, getattr(os, name)))
