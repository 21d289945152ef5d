"""The backend `onnxruntime` with real graphs, and Triton's side of it played by plain objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.deploy.local.backends import graphs, stub_api
from tests.deploy.local.backends.stub_api import InferenceRequest, Tensor

with stub_api.importable():
    from deploy.local.backends.onnxruntime import model as backend

if TYPE_CHECKING:
    from pathlib import Path

LOOKUP: dict[str, Any] = {
    "max_batch_size": 8,
    "input": [{"name": "index", "data_type": "TYPE_INT64", "dims": ["-1"]}],
    "output": [
        {"name": "value", "data_type": "TYPE_FP32", "dims": ["-1"]},
        {"name": "name", "data_type": "TYPE_STRING", "dims": ["-1"]},
    ],
    "default_model_filename": "model.py",  # what Triton fills in for a backend in Python
}


@pytest.fixture(name="empty_log", autouse=True)
def _empty_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test with an empty log."""
    monkeypatch.setattr(stub_api.Logger, "warnings", [])


def load(folder: Path, config: dict[str, Any], **args: str) -> Any:
    """Load version 1 of the model in *folder* as Triton would."""
    instance = backend.TritonPythonModel()
    instance.initialize(
        {
            "model_config": json.dumps(config),
            "model_name": "tiny",
            "model_version": "1",
            "model_repository": str(folder),
            "model_instance_kind": "CPU",
            "model_instance_name": "tiny_0_0",
            **args,
        }
    )
    return instance


def ask(*rows: list[int], wanted: tuple[str, ...] = ("value", "name")) -> InferenceRequest:
    """Make a request of some rows of numbers."""
    return InferenceRequest([Tensor("index", np.array(rows, dtype=np.int64))], list(wanted))


@pytest.fixture(name="lookup")
def _lookup(tmp_path: Path) -> Any:
    """The graph that looks numbers up, loaded."""
    graphs.save_lookup(tmp_path / "1" / "model.onnx")
    return load(tmp_path, LOOKUP)


def test_one_request_is_answered(lookup: Any) -> None:
    """Numbers come as numbers and texts as bytes, in the shape of the input."""
    (response,) = lookup.execute([ask([1, 2])])

    assert response.error is None
    assert response.array("value").tolist() == [[10.0, 20.0]]
    assert response.array("name").tolist() == [[b"green", b"blue"]]


def test_merged_requests_each_get_their_own_rows(lookup: Any) -> None:
    """Requests of several sizes run as one batch."""
    first, second, third = lookup.execute([ask([0, 0]), ask([1, 1], [2, 2]), ask([2, 0])])

    assert first.array("value").tolist() == [[0.0, 0.0]]
    assert second.array("value").tolist() == [[10.0, 10.0], [20.0, 20.0]]
    assert third.array("name").tolist() == [[b"blue", b"red"]]


def test_merged_requests_run_once(lookup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is one call of the session, and a lone request is not copied for it."""
    feeds: list[dict[str, Any]] = []
    session = lookup._session

    class Watched:
        def run(self, names: list[str], feed: dict[str, Any]) -> Any:
            feeds.append(feed)
            return session.run(names, feed)

    monkeypatch.setattr(lookup, "_session", Watched())
    lone = ask([1])
    lookup.execute([ask([0]), ask([1]), ask([2])])
    lookup.execute([lone])

    assert [feed["index"].shape for feed in feeds] == [(3, 1), (1, 1)]
    assert feeds[1]["index"] is lone.tensors[0].array


def test_requests_of_different_lengths_are_not_mixed(lookup: Any) -> None:
    """Each keeps its own shape, in the order in which they came."""
    responses = lookup.execute([ask([0]), ask([1, 2]), ask([2])])

    assert [r.array("value").tolist() for r in responses] == [[[0.0]], [[10.0, 20.0]], [[20.0]]]


def test_only_what_was_asked_for_is_returned(lookup: Any) -> None:
    """Requests of one batch may want different outputs."""
    first, second = lookup.execute([ask([1], wanted=("name",)), ask([2], wanted=("value",))])

    assert [tensor.name() for tensor in first.output_tensors] == ["name"]
    assert second.array("value").tolist() == [[20.0]]


def test_a_bad_request_does_not_fail_its_neighbours(lookup: Any) -> None:
    """The request with an index out of range gets the error, the others their answers."""
    first, second, third = lookup.execute([ask([1]), ask([7]), ask([2])])

    assert "indices element out of data bounds" in second.error.message()
    assert first.array("value").tolist() == [[10.0]]
    assert third.array("value").tolist() == [[20.0]]


def test_a_missing_input_is_told_to_its_request(lookup: Any) -> None:
    """The others are answered."""
    first, second = lookup.execute([InferenceRequest([], ["value"]), ask([1])])

    assert first.error.message() == "input 'index' is missing"
    assert second.array("value").tolist() == [[10.0]]


@pytest.mark.parametrize(
    ("triton_type", "onnx_type", "dtype"),
    [
        ("TYPE_BOOL", TensorProto.BOOL, np.bool_),
        ("TYPE_UINT8", TensorProto.UINT8, np.uint8),
        ("TYPE_INT32", TensorProto.INT32, np.int32),
        ("TYPE_FP16", TensorProto.FLOAT16, np.float16),
        ("TYPE_FP32", TensorProto.FLOAT, np.float32),
        ("TYPE_FP64", TensorProto.DOUBLE, np.float64),
    ],
)
def test_datatypes_pass_through(tmp_path: Path, triton_type: str, onnx_type: int, dtype: Any) -> None:
    """What goes in comes out, type and values."""
    graphs.save_echo(tmp_path / "1" / "model.onnx", onnx_type, ["batch", 3])
    specs = {"data_type": triton_type, "dims": [3]}
    config = {"max_batch_size": 4, "input": [{"name": "in", **specs}], "output": [{"name": "out", **specs}]}
    array = np.array([[0, 1, 2]]).astype(dtype)

    (response,) = load(tmp_path, config).execute([InferenceRequest([Tensor("in", array)], ["out"])])

    assert response.array("out").dtype == dtype
    assert response.array("out").tolist() == array.tolist()


@pytest.fixture(name="echo_texts")
def _echo_texts(tmp_path: Path) -> Any:
    """A graph that returns texts, without batching."""
    graphs.save_echo(tmp_path / "1" / "model.onnx", TensorProto.STRING, ["length"])
    specs = {"data_type": "TYPE_STRING", "dims": [-1]}
    return load(tmp_path, {"input": [{"name": "in", **specs}], "output": [{"name": "out", **specs}]})


def test_texts_go_in_and_out_as_bytes(echo_texts: Any) -> None:
    """Beyond ASCII too, and each request by itself where the model does not batch."""
    requests = [
        InferenceRequest([Tensor("in", np.array(texts, dtype=np.object_))], ["out"])
        for texts in (["Größe".encode(), b""], ["漢字".encode()])
    ]

    first, second = echo_texts.execute(requests)

    assert first.array("out").tolist() == ["Größe".encode(), b""]
    assert second.array("out").tolist() == ["漢字".encode()]


def test_bytes_that_are_no_text_are_refused(echo_texts: Any) -> None:
    """A string tensor has no place for them."""
    (response,) = echo_texts.execute(
        [InferenceRequest([Tensor("in", np.array([b"\xff"], dtype=np.object_))], ["out"])]
    )

    assert "input 'in' is not UTF-8" in response.error.message()


def test_an_output_that_forgets_the_batch_is_an_error(tmp_path: Path) -> None:
    """Rows can't be told apart, so nobody gets a neighbour's."""
    graphs.save_distinct(tmp_path / "1" / "model.onnx")
    specs = {"data_type": "TYPE_FP32", "dims": [2]}
    config = {"max_batch_size": 4, "input": [{"name": "in", **specs}], "output": [{"name": "out", **specs}]}
    request = InferenceRequest([Tensor("in", np.ones((1, 2), dtype=np.float32))], ["out"])

    responses = load(tmp_path, config).execute([request, request])

    assert ["has shape [1, 2] for a batch of 2" in response.error.message() for response in responses] == [
        True,
        True,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": []}, "its config names no inputs; the graph has 'index'"),
        (
            {"input": [{"name": "index", "data_type": "TYPE_INT32", "dims": [-1]}]},
            "input 'index' is TYPE_INT32 in the config and tensor(int64) in the graph",
        ),
        (
            {"input": [{"name": "index", "data_type": "TYPE_BF16", "dims": [-1]}]},
            "input 'index' is TYPE_BF16, which this backend can't pass on",
        ),
        (
            {"input": [{"name": "index", "data_type": "TYPE_INT64", "dims": [-1, 2]}]},
            "input 'index' has shape [-1, -1, 2] by the config and [-1, -1] in the graph",
        ),
        (
            {"output": [{"name": "score", "data_type": "TYPE_FP32", "dims": [-1]}]},
            "output 'score' is not in the graph, which has 'value', 'name'",
        ),
        (
            {"input": [{"name": "other", "data_type": "TYPE_INT64", "dims": [-1]}]},
            "the graph's input 'index' is missing in the config",
        ),
        ({"optimization": {"graph": {"level": 3}}}, "optimization.graph.level is 3"),
        (
            {"parameters": {"intra_op_thread_count": {"string_value": "two"}}},
            "parameter 'intra_op_thread_count' must be a whole number, and 'two' is none",
        ),
    ],
)
def test_a_config_that_does_not_fit_its_graph_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Loading fails with what is wrong."""
    graphs.save_lookup(tmp_path / "1" / "model.onnx")

    with pytest.raises(stub_api.TritonModelException) as caught:
        load(tmp_path, {**LOOKUP, **change})

    assert "model 'tiny' can't be served" in str(caught.value)
    assert message in str(caught.value)


def test_a_fixed_batch_dimension_can_not_be_batched(tmp_path: Path) -> None:
    """As with the native backend, max_batch_size asks for a dynamic first dimension."""
    graphs.save_echo(tmp_path / "1" / "model.onnx", TensorProto.FLOAT, [1, 2])
    specs = {"data_type": "TYPE_FP32", "dims": [2]}
    config = {"max_batch_size": 4, "input": [{"name": "in", **specs}], "output": [{"name": "out", **specs}]}

    with pytest.raises(stub_api.TritonModelException, match="first dimension must be dynamic"):
        load(tmp_path, config)


def test_reshape_is_what_the_graph_sees(tmp_path: Path) -> None:
    """Dims of [1] reshaped to nothing fit a graph of one dimension."""
    graphs.save_echo(tmp_path / "1" / "model.onnx", TensorProto.FLOAT, ["batch"])
    specs = {"data_type": "TYPE_FP32", "dims": ["1"], "reshape": {"shape": []}}
    config = {"max_batch_size": 4, "input": [{"name": "in", **specs}], "output": [{"name": "out", **specs}]}
    request = InferenceRequest([Tensor("in", np.array([2.5], dtype=np.float32))], ["out"])

    assert load(tmp_path, config).execute([request])[0].array("out").tolist() == [2.5]


def test_a_gpu_instance_is_refused_with_the_remedy(tmp_path: Path) -> None:
    """Running it on the CPU in silence would be a surprise."""
    graphs.save_lookup(tmp_path / "1" / "model.onnx")

    with pytest.raises(stub_api.TritonModelException, match=r"KIND_GPU.*use KIND_CPU"):
        load(tmp_path, LOOKUP, model_instance_kind="GPU")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message has the path that was looked at."""
    with pytest.raises(stub_api.TritonModelException, match=r"there is no file .*/1/model\.onnx"):
        load(tmp_path, LOOKUP)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    """The reason of onnxruntime is passed on."""
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.onnx").write_bytes(b"no graph")

    with pytest.raises(stub_api.TritonModelException, match=r"model\.onnx: .*[Pp]rotobuf"):
        load(tmp_path, LOOKUP)


def test_each_version_has_its_own_file(tmp_path: Path) -> None:
    """Another file name and a folder of that name are found too."""
    graphs.save_lookup(tmp_path / "2" / "small.onnx")
    graphs.save_lookup(tmp_path / "3" / "small.onnx" / "model.onnx")
    config = {**LOOKUP, "default_model_filename": "small.onnx", "cc_model_filenames": {"8.0": "a100.onnx"}}

    for version in ("2", "3"):
        assert load(tmp_path, config, model_version=version).execute([ask([1])])[0].error is None


def test_gpu_settings_are_reported_once_and_ignored(tmp_path: Path) -> None:
    """The first instance speaks for all; the model is served."""
    graphs.save_lookup(tmp_path / "1" / "model.onnx")
    config = {
        **LOOKUP,
        "optimization": {"execution_accelerators": {"gpu_execution_accelerator": [{"name": "tensorrt"}]}},
        "parameters": {
            "gpu_mem_limit": {"string_value": "1"},
            "memory.enable_memory_arena_shrinkage": {"string_value": "gpu:0"},
        },
    }

    for instance in ("tiny_0_0", "tiny_0_1"):
        assert load(tmp_path, config, model_instance_name=instance).execute([ask([1])])[0].error is None

    assert len(stub_api.Logger.warnings) == 2
    assert "gpu_execution_accelerator (tensorrt) is ignored" in stub_api.Logger.warnings[0]
    assert "gpu_mem_limit, memory.enable_memory_arena_shrinkage" in stub_api.Logger.warnings[1]


@pytest.mark.parametrize(
    ("level", "name"),
    [(-1, "ORT_ENABLE_BASIC"), (0, "ORT_ENABLE_ALL"), (1, "ORT_ENABLE_EXTENDED"), (2, "ORT_DISABLE_ALL")],
)
def test_graph_levels_mean_what_they_mean_natively(level: int, name: str) -> None:
    """The numbers are the native backend's."""
    options = backend.session_options({"optimization": {"graph": {"level": level}}})

    assert options.graph_optimization_level.name == name


def test_parameters_mean_what_they_mean_natively() -> None:
    """Threads, execution mode, memory, and session entries by name."""
    values = {
        "intra_op_thread_count": "3",
        "inter_op_thread_count": "2",
        "execution_mode": "1",
        "enable_mem_arena": "0",
        "enable_mem_pattern": "0",
        "session.intra_op.allow_spinning": "1",
        "model_card": "{}",
    }
    config = {"parameters": {key: {"string_value": value} for key, value in values.items()}}

    options = backend.session_options(config)

    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (3, 2)
    assert options.execution_mode.name == "ORT_PARALLEL"
    assert (options.enable_cpu_mem_arena, options.enable_mem_pattern) == (False, False)
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"


def test_threads_do_not_spin_unless_asked_to() -> None:
    """Idle instances leave the cores to the others."""
    options = backend.session_options({})

    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert (options.enable_cpu_mem_arena, options.enable_mem_pattern) == (True, True)


def test_an_unloaded_instance_lets_go_of_its_session(lookup: Any) -> None:
    """Its memory is free before its process ends."""
    lookup.finalize()

    assert lookup._session is None
