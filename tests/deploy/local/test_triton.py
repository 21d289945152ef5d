"""The launcher with a real Triton and a tiny graph behind our `onnxruntime` backend."""

from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local import linux
from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonFailed, TritonServer
from deploy.local.watch import TritonWatch
from tests.deploy.local.backends import graphs
from tests.freezing import freeze, thaw

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.e2e

CONFIG = """
backend: "onnxruntime"
max_batch_size: 8
version_policy { specific { versions: [1, 2] } }
input { name: "index" data_type: TYPE_INT64 dims: [-1] }
output { name: "value" data_type: TYPE_FP32 dims: [-1] }
output { name: "name" data_type: TYPE_STRING dims: [-1] }
instance_group { kind: KIND_CPU count: 1 }
dynamic_batching { }
optimization { execution_accelerators { gpu_execution_accelerator { name: "tensorrt" } } }
parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""


@pytest.fixture(name="repository", scope="module")
def _repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the graph `lookup` in two versions."""
    install_triton(Places(CHECKOUT), print)
    repository = tmp_path_factory.mktemp("repository")
    for version in ("1", "2"):
        graphs.save_lookup(repository / "lookup" / version / "model.onnx")
    (repository / "lookup" / "config.pbtxt").write_text(CONFIG)
    return repository


@pytest.fixture(name="triton", scope="module")
def _triton(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A running server."""
    log = tmp_path_factory.mktemp("log") / "triton.log"
    with TritonServer(repository, log_path=log, env={"EXTRA": "1"}) as triton:
        yield triton


def infer(triton: TritonServer, rows: list[list[int]], version: str = "1") -> dict[str, Any]:
    """Ask over HTTP; the answer's data by output name, or its error."""
    body = {
        "inputs": [
            {"name": "index", "datatype": "INT64", "shape": [len(rows), len(rows[0])], "data": rows},
        ]
    }
    request = urllib.request.Request(
        f"http://{triton.http_url}/v2/models/lookup/versions/{version}/infer", json.dumps(body).encode()
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310 - the URL is ours
            answer = json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return dict(json.loads(error.read()))
    return {output["name"]: output["data"] for output in answer["outputs"]}


def stubs_of(triton: TritonServer) -> list[int]:
    """Find the server's stubs."""
    assert triton.pid is not None
    return [
        pid for pid, state, group in linux._all_processes() if group == triton.pid != pid and state != "Z"
    ]


def leftovers(triton: TritonServer) -> list[str]:
    """List the server's shared memory."""
    return [region.name for region in linux.SHARED_MEMORY.glob(f"{triton.shm_prefix}*")]


@pytest.mark.parametrize("version", ["1", "2"])
def test_both_versions_answer_through_our_backend(triton: TritonServer, version: str) -> None:
    """Numbers and texts, one row and several."""
    assert infer(triton, [[1, 2]], version) == {"value": [10.0, 20.0], "name": ["green", "blue"]}
    assert infer(triton, [[1], [0]], version)["name"] == ["green", "red"]


def test_an_error_of_the_graph_reaches_its_caller(triton: TritonServer) -> None:
    """And the next request is answered."""
    assert "out of data bounds" in infer(triton, [[9]])["error"]
    assert infer(triton, [[2]])["name"] == ["blue"]


def test_the_gpu_block_is_reported_and_ignored(triton: TritonServer) -> None:
    """Once for each version, in Triton's own log."""
    log = triton.log_path.read_text()

    assert log.count("gpu_execution_accelerator (tensorrt) is ignored") == 2


def test_a_killed_stub_is_seen_and_a_restart_mends_it(triton: TritonServer) -> None:
    """Triton itself calls the model ready and fails every request to it."""
    assert triton.dead_stubs() == []
    ports = (triton.http_port, triton.grpc_port, triton.metrics_port)
    for pid in stubs_of(triton):
        os.kill(pid, signal.SIGKILL)
    _wait_until(lambda: len(triton.dead_stubs()) == 2)
    assert "not healthy" in infer(triton, [[1]])["error"]

    triton.restart()

    assert infer(triton, [[1]])["name"] == ["green"]
    assert (triton.http_port, triton.grpc_port, triton.metrics_port) == ports


def test_a_frozen_server_is_told_from_one_that_lives(triton: TritonServer) -> None:
    """It answers whether it lives only while it does, and again when it goes on."""
    watching = TritonWatch(triton)
    assert triton.is_live(30)
    assert triton.pid is not None
    freeze(triton.pid)
    try:
        assert not triton.is_live(0.3)
        assert watching.what_is_wrong() is None
    finally:
        thaw(triton.pid)
    assert triton.is_live(30)


def test_a_crash_leaves_nothing_and_can_be_recovered_from(triton: TritonServer) -> None:
    """After SIGKILL of the server alone, as of the whole machine."""
    folders = triton.temporary_dirs
    assert folders
    assert leftovers(triton)
    assert triton.pid is not None
    os.kill(triton.pid, signal.SIGKILL)
    _wait_until(lambda: not triton.is_running())
    assert triton.exit_code() == -signal.SIGKILL

    triton.kill()

    assert leftovers(triton) == []
    assert [folder for folder in folders if folder.exists()] == []
    triton.restart()
    assert infer(triton, [[1]])["name"] == ["green"]


def test_a_stop_leaves_nothing(repository: Path) -> None:
    """No process, no shared memory, no folder, no log; the repository has no new files either."""
    files = sorted(repository.rglob("*"))
    with TritonServer(repository) as triton:
        folders, pid, log = triton.temporary_dirs, triton.pid, triton.log_path
        assert log.exists()

    assert pid is not None
    assert [process for process, _, group in linux._all_processes() if group == pid] == []
    assert leftovers(triton) == []
    assert [folder for folder in folders if folder.exists()] == []
    assert not log.exists()
    assert sorted(repository.rglob("*")) == files


def test_a_model_that_can_not_be_loaded_is_explained(repository: Path, tmp_path: Path) -> None:
    """The reason is in the exception, and nothing is left running."""
    broken = tmp_path / "lookup"
    (broken / "1").mkdir(parents=True)
    (broken / "1" / "model.onnx").write_bytes((repository / "lookup" / "1" / "model.onnx").read_bytes())
    (broken / "config.pbtxt").write_text(CONFIG.replace("[1, 2]", "[1]").replace("TYPE_INT64", "TYPE_INT32"))
    triton = TritonServer(tmp_path)

    with pytest.raises(TritonFailed) as caught, triton:
        pytest.fail("it must not start")

    assert "input 'index' is TYPE_INT32 in the config and tensor(int64) in the graph" in str(caught.value)
    assert triton.pid is None
    assert leftovers(triton) == []


def test_a_taken_port_is_explained(triton: TritonServer, repository: Path) -> None:
    """A port that was asked for is not changed behind the user's back."""
    with (
        pytest.raises(TritonFailed, match="already in use"),
        TritonServer(repository, grpc_port=triton.grpc_port),
    ):
        pytest.fail("it must not start")


def test_a_missing_installation_is_explained(tmp_path: Path) -> None:
    """With the command that repairs it."""
    with pytest.raises(TritonFailed, match="make install"):
        TritonServer(tmp_path, home=tmp_path).start()


def _wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
