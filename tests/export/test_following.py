"""A real Triton that is told to follow: it does, it says why it can't, and in another control mode it is left alone."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from tritonclient import grpc as triton_client
from tritonclient.grpc import model_config_pb2

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from export import releases
from export.artifacts import Draft
from export.errors import BadInput, FollowFailed
from export.following import RunningTritons, connected, read_address
from export.release_moves import promote, rollback, start_canary
from export.release_state import Release
from export.transition import Folders, keep_configs, read_state

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODEL = """
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        {start}

    def execute(self, requests):
        return [pb_utils.InferenceResponse([pb_utils.Tensor("y", np.array([1], np.int32))]) for _ in requests]
"""


def publish(repository: Path, start: str, *, is_candidate: bool) -> None:
    """Publish a version of a model without core that begins with a statement."""
    config = model_config_pb2.ModelConfig(name="toy", backend="python")
    config.input.add(name="x", data_type=model_config_pb2.TYPE_INT32, dims=[1])
    config.output.add(name="y", data_type=model_config_pb2.TYPE_INT32, dims=[1])
    config.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.Kind.Value("KIND_CPU"))
    config.version_policy.specific.versions.append(1)
    config.parameters["model_card"].string_value = json.dumps({"task": "toy", "release": {"stable": 1}})
    releases.open_repository(repository)
    with releases.staging_folder(repository) as staging:
        door = staging / "door"
        door.mkdir()
        (door / "model.py").write_text(MODEL.format(start=start))
        draft = Draft(door, None, None)  # type: ignore[arg-type]  # no graph in it
        keep_configs(draft, config, None)
        with releases.lock_repository(repository):
            releases.publish(
                repository,
                ("toy", "toy_core"),
                draft,
                lambda _stable, _versions: (config, None),
                is_candidate=is_candidate,
            )


def served(server: TritonServer) -> dict[int, str]:
    """Ask a server for the versions that it has, and their states."""
    client = triton_client.InferenceServerClient(server.grpc_url)
    index = client.get_model_repository_index()
    client.close()
    return {int(model.version): model.state for model in index.models if model.version}


@pytest.fixture(name="repository")
def _repository(tmp_path: Path) -> Path:
    """Version 1 is stable, 2 a good candidate, 3 one that can't be loaded."""
    install_triton(Places(CHECKOUT), print)
    repository = tmp_path / "repository"
    for start in ("pass", "pass", 'raise RuntimeError("no such file")'):
        publish(repository, start, is_candidate=True)
    return repository


@pytest.fixture(name="server")
def _server(repository: Path) -> Iterator[TritonServer]:
    """A Triton that serves it."""
    with TritonServer(repository) as server:
        yield server


@pytest.mark.e2e
def test_a_running_triton_follows_or_says_why_not(repository: Path, server: TritonServer) -> None:
    """It serves what each move leaves; a version that can't be loaded leaves files and server as they were."""
    follower = RunningTritons([server.grpc_url], sleep=lambda _seconds: None)
    start_canary(repository, "toy", 2, 10, follower)
    assert served(server) == {1: "READY", 2: "READY"}
    with pytest.raises(FollowFailed, match=r"no such file.*The release is as it was"):
        start_canary(repository, "toy", 3, 10, follower)
    assert read_state(Folders(repository, "toy")) == Release(1, 2, 10)
    states = served(server)
    assert (states[1], states[2]) == ("READY", "READY")
    promote(repository, "toy", follower)
    assert {version for version, state in served(server).items() if state == "READY"} == {2}
    rollback(repository, "toy", follower=follower)
    assert {version for version, state in served(server).items() if state == "READY"} == {1}
    follower.close()


@pytest.mark.e2e
def test_a_triton_with_another_repository_is_noticed(
    repository: Path, server: TritonServer, tmp_path: Path
) -> None:
    """A server that loads and still serves something else doesn't read these files; nothing is left changed."""
    other = tmp_path / "other"
    shutil.copytree(repository, other)
    follower = RunningTritons([server.grpc_url])
    with pytest.raises(FollowFailed, match="Does it serve this repository"):
        start_canary(other, "toy", 2, 10, follower)
    assert read_state(Folders(other, "toy")) == Release(1)
    follower.close()


class PollingTriton(TritonServer):
    """A Triton that looks for itself, and takes no orders."""

    def _command(self) -> list[str]:
        kept = [
            part for part in super()._command() if not part.startswith(("--load-model", "--model-control"))
        ]
        return [*kept, "--model-control-mode=poll"]


@pytest.mark.e2e
def test_a_triton_that_takes_no_orders_is_left_alone(repository: Path) -> None:
    """Before anything is changed, a sentence says how to start it."""
    with (
        PollingTriton(repository) as server,
        pytest.raises(FollowFailed, match="--model-control-mode=explicit"),
        connected([server.grpc_url]),
    ):
        pass


def test_a_triton_that_is_not_there_is_named() -> None:
    """The sentence has the address."""
    with pytest.raises(FollowFailed, match=r"127\.0\.0\.1:1 can't follow"), connected(["127.0.0.1:1"]):
        pass


@pytest.mark.parametrize(
    "url", ["localhost:8001", "http://localhost:8000", "grpc://localhost", "grpc://h:1/x", "grpc://h:x", ""]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    """Only grpc://host:port will do, and the sentence shows one."""
    with pytest.raises(BadInput, match="grpc://localhost:8001"):
        read_address(url)
    assert read_address("grpc://[::1]:8001") == "[::1]:8001"
