"""A repository of small models that are nobody's export: every datatype, several tensors, labels, a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

DATATYPES = (
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
)
"""All that Triton's Python backend knows; BF16 is the codec's own test."""

ECHO = '''
import json

import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Gives each input back under its output's name."""

    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._names = [(one["name"], other["name"]) for one, other in zip(config["input"], config["output"])]

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(to, pb_utils.get_input_tensor_by_name(request, name).as_numpy())
                    for name, to in self._names
                ]
            )
            for request in requests
        ]
'''

PARAMETERS = '''
import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Tells which parameters it was called with."""

    def execute(self, requests):
        return [
            pb_utils.InferenceResponse([pb_utils.Tensor("SEEN", np.array([request.parameters()], dtype=np.object_))])
            for request in requests
        ]
'''

SUM = '''
import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """Adds up what comes in one sequence."""

    def initialize(self, args):
        self._sums = {}

    def execute(self, requests):
        responses = []
        for request in requests:
            at = int(pb_utils.get_input_tensor_by_name(request, "CORRID").as_numpy()[0, 0])
            if pb_utils.get_input_tensor_by_name(request, "START").as_numpy()[0, 0]:
                self._sums[at] = 0
            # Slots of sequences that wait get a call of number 0.
            added = int(pb_utils.get_input_tensor_by_name(request, "IN").as_numpy()[0, 0])
            self._sums[at] = self._sums.get(at, 0) + added
            total = np.array([[self._sums[at]]], dtype=np.int32)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", total)]))
        return responses
'''

SEQUENCE = """
sequence_batching {
  max_sequence_idle_microseconds: 60000000
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } ] },
    { name: "CORRID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
}
"""


def write_models(repository: Path) -> None:
    """
    Write them all.

    Args:
        repository: An empty folder.
    """
    every = [(datatype, datatype, "-1") for datatype in DATATYPES]
    _write(repository, "every", ECHO, every)
    _write(repository, "floats", ECHO, [("A", "FP32", "-1")])
    _write(repository, "text", ECHO, [("A", "BYTES", "1")])
    _write(repository, "pair", ECHO, [("A", "INT32", "2, -1"), ("B", "BYTES", "-1")], max_batch_size=4)
    _write(repository, "labelled", ECHO, [("A", "FP32", "4")], max_batch_size=4, labels="zero\none\ntwo\n")
    _write(
        repository,
        "parameters",
        PARAMETERS,
        [("A", "FP32", "-1")],
        output='name: "SEEN" data_type: TYPE_STRING dims: [ 1 ]',
    )
    _write(
        repository,
        "sum",
        SUM,
        [("IN", "INT32", "1")],
        max_batch_size=4,
        output='name: "OUT" data_type: TYPE_INT32 dims: [ 1 ]',
        further=SEQUENCE,
    )


def _write(
    repository: Path,
    name: str,
    code: str,
    inputs: list[tuple[str, str, str]],
    *,
    max_batch_size: int = 0,
    labels: str = "",
    output: str = "",
    further: str = "",
) -> None:
    folder = repository / name
    (folder / "1").mkdir(parents=True)
    (folder / "1" / "model.py").write_text(code)
    lines = [
        f'backend: "python"\nmax_batch_size: {max_batch_size}\ninstance_group {{ kind: KIND_CPU }}{further}'
    ]
    if labels:
        (folder / "labels.txt").write_text(labels)
    for tensor, datatype, dims in inputs:
        kind = "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"
        lines.append(f'input {{ name: "{tensor}" data_type: {kind} dims: [ {dims} ] }}')
        label = 'label_filename: "labels.txt"' if labels else ""
        if not output:
            lines.append(f'output {{ name: "{tensor}_OUT" data_type: {kind} dims: [ {dims} ] {label} }}')
    if output:
        lines.append(f"output {{ {output} }}")
    (folder / "config.pbtxt").write_text("\n".join(lines))
