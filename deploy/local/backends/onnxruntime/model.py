"""
Runs ONNX models on the CPU inside Triton, by the same ``config.pbtxt`` that the native backend reads.

Triton looks for ``libtriton_onnxruntime.so`` first and takes this file only where there is none, so nothing
in a model repository may depend on it. What it shares with the native backend: file names, versions, the
checks of inputs and outputs against the graph, the meaning of ``parameters`` and ``optimization.graph``, the
merging of requests and the splitting of answers. What it lacks, it names when the model is loaded: GPUs.

Source:
    triton-inference-server/onnxruntime_backend, README.md, "Model Config Options".
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

# Read by onnxruntime when it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

DATATYPES = {
    "TYPE_BOOL": "tensor(bool)",
    "TYPE_UINT8": "tensor(uint8)",
    "TYPE_UINT16": "tensor(uint16)",
    "TYPE_UINT32": "tensor(uint32)",
    "TYPE_UINT64": "tensor(uint64)",
    "TYPE_INT8": "tensor(int8)",
    "TYPE_INT16": "tensor(int16)",
    "TYPE_INT32": "tensor(int32)",
    "TYPE_INT64": "tensor(int64)",
    "TYPE_FP16": "tensor(float16)",
    "TYPE_FP32": "tensor(float)",
    "TYPE_FP64": "tensor(double)",
    "TYPE_STRING": "tensor(string)",
}
"""onnxruntime's name for each datatype of a Triton config. BF16 is missing: NumPy has no such type."""

GRAPH_LEVELS = {
    -1: ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    0: ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
    1: ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    2: ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
}
"""What the native backend makes of ``optimization.graph.level``."""

GPU_PARAMETERS = frozenset(
    {"cudnn_conv_algo_search", "gpu_mem_limit", "arena_extend_strategy", "do_copy_in_default_stream"}
)
SHRINKAGE = "memory.enable_memory_arena_shrinkage"


class TritonPythonModel:
    """One instance of one version of a model: one session, in a process of its own."""

    def initialize(self, args: dict[str, str]) -> None:
        """
        Load the graph and check that it is what the config promises.

        Args:
            args: What Triton tells an instance about itself; `model_config` is JSON.

        Raises:
            pb_utils.TritonModelException: If the model can't be served, with the reason and the remedy.
        """
        config: dict[str, Any] = json.loads(args["model_config"])
        self._name = args["model_name"]
        if args["model_instance_kind"] == "GPU":
            raise _refusal(
                self._name,
                "its instance_group asks for KIND_GPU, and this backend runs on the CPU: use KIND_CPU or "
                "KIND_AUTO, or serve it with Triton's native onnxruntime backend",
            )
        path = find_graph(Path(args["model_repository"]) / args["model_version"], config)
        if not path.is_file():
            raise _refusal(self._name, f"there is no file {path}")
        if args["model_instance_name"].endswith("_0"):  # one instance speaks for all
            for note in ignored_settings(config):
                pb_utils.Logger.log_warn(f"{self._name}: {note}")
        try:
            options = session_options(config)
            self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _refusal(self._name, f"{path.name}: {error}") from error
        problems = find_mismatches(self._session, config)
        if problems:
            raise _refusal(self._name, "; ".join(problems))

        self._is_batched = int(config.get("max_batch_size", 0)) > 0
        self._inputs = [spec["name"] for spec in config["input"]]
        self._optional = {spec["name"] for spec in config["input"] if spec.get("optional")}
        self._string_inputs = {s["name"] for s in config["input"] if s["data_type"] == "TYPE_STRING"}
        self._string_outputs = {s["name"] for s in config["output"] if s["data_type"] == "TYPE_STRING"}

    def execute(self, requests: list[Any]) -> list[Any]:
        """
        Answer what the scheduler merged.

        Args:
            requests: One or more inference requests.

        Returns:
            One response for each, in the same order; a failure is told in the response of its own request.
        """
        responses: list[Any] = [None] * len(requests)
        groups: dict[object, list[int]] = defaultdict(list)
        feeds: list[dict[str, Any]] = []
        for index, request in enumerate(requests):
            try:
                feeds.append(self._read_inputs(request))
            except ValueError as error:
                feeds.append({})
                responses[index] = _failure(error)
                continue
            groups[self._merge_key(index, feeds[index])].append(index)
        for members in groups.values():
            self._answer(members, requests, feeds, responses)
        return responses

    def finalize(self) -> None:
        """Let go of the session, so that an unload frees its memory before the process ends."""
        self._session = None

    def _read_inputs(self, request: Any) -> dict[str, Any]:
        """Take the arrays out of a request; ValueError if one is missing or no text."""
        feed = {}
        for name in self._inputs:
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                if name in self._optional:
                    continue
                raise ValueError(f"input '{name}' is missing")
            array = tensor.as_numpy()
            feed[name] = _to_texts(name, array) if name in self._string_inputs else array
        return feed

    def _merge_key(self, index: int, feed: dict[str, Any]) -> object:
        """Tell which requests may run together: those with the same inputs of the same shape, batch apart."""
        if not self._is_batched:
            return index
        return tuple((name, array.shape[1:]) for name, array in feed.items())

    def _answer(
        self, members: list[int], requests: list[Any], feeds: list[dict[str, Any]], responses: list[Any]
    ) -> None:
        """Run some requests as one batch and fill in their responses."""
        wanted = [requests[index].requested_output_names() for index in members]
        names = list(dict.fromkeys(name for outputs in wanted for name in outputs))
        # A lone request, the usual case at low load, is run on Triton's own buffers without a copy.
        feed = feeds[members[0]]
        if len(members) > 1:
            feed = {name: np.concatenate([feeds[index][name] for index in members]) for name in feed}
        try:
            outputs = dict(zip(names, self._session.run(names, feed), strict=True))
        except Exception as error:  # noqa: BLE001 - onnxruntime's errors share no base class of their own
            if len(members) == 1:
                responses[members[0]] = _failure(error)
                return
            # One request's values, such as an index out of range, must not fail its neighbours.
            for index in members:
                self._answer([index], requests, feeds, responses)
            return
        self._split(members, wanted, outputs, feeds, responses)

    def _split(
        self,
        members: list[int],
        wanted: list[list[str]],
        outputs: dict[str, Any],
        feeds: list[dict[str, Any]],
        responses: list[Any],
    ) -> None:
        """Give each request its own rows of the outputs."""
        start = 0
        rows = [next(iter(feeds[index].values())).shape[0] if self._is_batched else 0 for index in members]
        for index, names, count in zip(members, wanted, rows, strict=True):
            tensors = []
            try:
                for name in names:
                    array = np.asarray(outputs[name])
                    if self._is_batched:
                        if array.ndim == 0 or array.shape[0] != sum(rows):
                            raise ValueError(  # noqa: TRY301 - told to this request like any other failure
                                f"output '{name}' has shape {list(array.shape)} for a batch of {sum(rows)}"
                            )
                        array = array[start : start + count]
                    if name in self._string_outputs:
                        array = _to_bytes(array)
                    tensors.append(pb_utils.Tensor(name, array))
                responses[index] = pb_utils.InferenceResponse(tensors)
            except ValueError as error:
                responses[index] = _failure(error)
            start += count


def find_graph(version_dir: Path, config: dict[str, Any]) -> Path:
    """
    Find the file of a version.

    Args:
        version_dir: The version's folder.

        config: The model config. ``cc_model_filenames`` chooses by GPU, so it has no say here.

    Returns:
        Path of the ONNX file, which may not exist.
    """
    # Triton fills in "model.py" for a backend that is written in Python.
    filename = config.get("default_model_filename") or "model.onnx"
    path = version_dir / ("model.onnx" if filename == "model.py" else filename)
    return path / "model.onnx" if path.is_dir() else path


def session_options(config: dict[str, Any]) -> Any:
    """
    Translate a config into onnxruntime's options, with the native backend's meaning of each key.

    Args:
        config: The model config.

    Returns:
        An `onnxruntime.SessionOptions`.

    Raises:
        ValueError: If a parameter is not the number it has to be, or the graph level is unknown.
    """
    options = ort.SessionOptions()
    parameters = _parameters(config)
    level = int(config.get("optimization", {}).get("graph", {}).get("level", 0))
    if level not in GRAPH_LEVELS:
        raise ValueError(
            f"optimization.graph.level is {level}, and only {sorted(GRAPH_LEVELS)} have a meaning"
        )
    options.graph_optimization_level = GRAPH_LEVELS[level]
    options.intra_op_num_threads = _number(parameters, "intra_op_thread_count", 0)
    options.inter_op_num_threads = _number(parameters, "inter_op_thread_count", 0)
    options.enable_cpu_mem_arena = bool(_number(parameters, "enable_mem_arena", 1))
    options.enable_mem_pattern = bool(_number(parameters, "enable_mem_pattern", 1))
    if _number(parameters, "execution_mode", 0):
        options.execution_mode = ort.ExecutionMode.ORT_PARALLEL
    # Spinning threads of one instance would take the cores from the others and from the tokenizer.
    entries = {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    entries.update((key, value) for key, value in parameters.items() if key.startswith("session."))
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return options


def ignored_settings(config: dict[str, Any]) -> list[str]:
    """
    List what a config asks for and this backend does not do.

    Args:
        config: The model config.

    Returns:
        One sentence for each.
    """
    notes = []
    for kind, accelerators in config.get("optimization", {}).get("execution_accelerators", {}).items():
        names = ", ".join(accelerator["name"] for accelerator in accelerators)
        if names:
            notes.append(f"{kind} ({names}) is ignored: this backend runs onnxruntime's CPU provider only")
    unused = sorted((GPU_PARAMETERS | {SHRINKAGE}) & _parameters(config).keys())
    if unused:
        notes.append(f"parameters without effect on this backend: {', '.join(unused)}")
    return notes


def find_mismatches(session: Any, config: dict[str, Any]) -> list[str]:
    """
    Compare what a config promises with what its graph has.

    Args:
        session: The loaded graph.

        config: The model config.

    Returns:
        One sentence a mismatch; empty if they agree.
    """
    is_batched = int(config.get("max_batch_size", 0)) > 0
    graph_inputs = {node.name: node for node in session.get_inputs()}
    # Inputs with a default value in the graph may be fed, and need not be.
    defaulted = {node.name: node for node in session.get_overridable_initializers()}
    graph_outputs = {node.name: node for node in session.get_outputs()}
    problems = []
    for label, specs, nodes in (
        ("input", config.get("input", []), {**defaulted, **graph_inputs}),
        ("output", config.get("output", []), graph_outputs),
    ):
        if not specs:
            problems.append(f"its config names no {label}s; the graph has {_listed(nodes)}")
        for spec in specs:
            problems.extend(_spec_mismatches(label, spec, nodes, is_batched=is_batched))
    named = {spec["name"] for spec in config.get("input", [])}
    problems.extend(
        f"the graph's input '{name}' is missing in the config" for name in graph_inputs if name not in named
    )
    return problems


def _spec_mismatches(
    label: str, spec: dict[str, Any], nodes: dict[str, Any], *, is_batched: bool
) -> list[str]:
    name, datatype = spec["name"], spec["data_type"]
    if name not in nodes:
        return [f"{label} '{name}' is not in the graph, which has {_listed(nodes)}"]
    node = nodes[name]
    problems = []
    if datatype not in DATATYPES:
        problems.append(f"{label} '{name}' is {datatype}, which this backend can't pass on")
    elif DATATYPES[datatype] != node.type:
        problems.append(f"{label} '{name}' is {datatype} in the config and {node.type} in the graph")
    # The graph sees what `reshape` makes of the dims.
    dims = [int(size) for size in spec.get("reshape", {}).get("shape", spec["dims"])]
    shape = [size if isinstance(size, int) and size >= 0 else -1 for size in node.shape]
    if is_batched and (not shape or shape[0] != -1):
        problems.append(
            f"{label} '{name}' has shape {shape} in the graph; to be batched its first dimension must be "
            f"dynamic, or max_batch_size 0"
        )
        return problems
    expected = [-1, *dims] if is_batched else dims
    fits = len(shape) == len(expected) and all(
        -1 in pair or pair[0] == pair[1] for pair in zip(shape, expected, strict=True)
    )
    if not fits:
        problems.append(f"{label} '{name}' has shape {expected} by the config and {shape} in the graph")
    return problems


def _parameters(config: dict[str, Any]) -> dict[str, str]:
    return {key: value["string_value"] for key, value in config.get("parameters", {}).items()}


def _number(parameters: dict[str, str], key: str, default: int) -> int:
    text = parameters.get(key, str(default))
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"parameter '{key}' must be a whole number, and {text!r} is none") from None


def _listed(names: Any) -> str:
    return ", ".join(f"'{name}'" for name in names) or "none"


def _to_texts(name: str, array: Any) -> Any:
    """Decode a BYTES tensor: onnxruntime takes strings, and would print bytes as ``b'...'``."""
    try:
        texts = [item.decode() if isinstance(item, bytes) else str(item) for item in array.ravel()]
    except UnicodeDecodeError as error:
        raise ValueError(f"input '{name}' is not UTF-8: {error}") from None
    return np.array(texts, dtype=np.object_).reshape(array.shape)


def _to_bytes(array: Any) -> Any:
    encoded = [str(item).encode() for item in array.ravel()]
    return np.array(encoded, dtype=np.object_).reshape(array.shape)


def _failure(error: Exception) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)))


def _refusal(model_name: str, reason: str) -> Exception:
    exception: Exception = pb_utils.TritonModelException(f"model '{model_name}' can't be served: {reason}")
    return exception
