"""The V2 protocol's bodies: what is written is read again, and what is wrong is refused by name, whatever it is."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facade.errors import FacadeError, InvalidInput, PermissionDenied
from facade.schemas.v2 import Wanted, Written, find_header_length, read_raw, read_request, write_response
from facade.triton.interface import InferOptions, Tensor

DTYPES = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "BF16": "<u2",
    "FP32": "<f4",
    "FP64": "<f8",
}
IN_JSON = [*sorted(set(DTYPES) - {"FP16", "BF16"}), "BYTES"]


@st.composite
def tensors(draw: st.DrawFn, datatypes: list[str], name: str = "x") -> Tensor:
    """Draw a tensor of any of the datatypes, with numbers that JSON can hold."""
    datatype = draw(st.sampled_from(datatypes))
    shape = tuple(draw(st.lists(st.integers(0, 3), max_size=3)))
    count = math.prod(shape)
    if datatype == "BYTES":
        texts = draw(st.lists(st.text(), min_size=count, max_size=count))
        raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
        return Tensor(name, datatype, shape, raw)
    size = np.dtype(DTYPES[datatype]).itemsize
    if datatype in {"FP32", "FP64"}:
        one = st.floats(allow_nan=False, allow_infinity=False, width=8 * size)
        values = np.array(draw(st.lists(one, min_size=count, max_size=count)), dtype=DTYPES[datatype])
        return Tensor(name, datatype, shape, values.tobytes())
    if datatype == "BOOL":
        return Tensor(
            name, datatype, shape, bytes(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
        )
    return Tensor(name, datatype, shape, draw(st.binary(min_size=count * size, max_size=count * size)))


def to_body(written: Written) -> tuple[bytes, int]:
    """Make a request of an answer: its outputs become the inputs."""
    answer = json.loads(written.body[: written.header_length])
    inputs = [one | {"name": f"x{index}"} for index, one in enumerate(answer["outputs"])]
    head = json.dumps({"inputs": inputs}).encode()
    blobs = b"" if written.header_length is None else written.body[written.header_length :]
    return head + blobs, len(head)


@settings(max_examples=200, deadline=None)
@given(st.lists(tensors([*DTYPES, "BYTES"]), min_size=1, max_size=4))
def test_binary_data_comes_back_as_it_was(found: list[Tensor]) -> None:
    """Of every datatype, several tensors in a body."""
    outputs = {f"x{index}": one for index, one in enumerate(found)}
    written = write_response(Wanted([], is_binary=True), "m", "1", outputs, {})
    body, length = to_body(written)

    read = read_request(body, length)

    assert [(one.datatype, one.shape, one.raw) for one in read.inputs] == [
        (one.datatype, one.shape, one.raw) for one in found
    ]


@settings(max_examples=200, deadline=None)
@given(tensors(IN_JSON))
def test_json_comes_back_as_it_was(tensor: Tensor) -> None:
    """To the last bit of a float, whatever JSON can hold."""
    written = write_response(Wanted([]), "m", "1", {"x0": tensor}, {})
    assert written.header_length is None

    read = read_request(to_body(written)[0])

    assert (read.inputs[0].datatype, read.inputs[0].shape, read.inputs[0].raw) == (
        tensor.datatype,
        tensor.shape,
        tensor.raw,
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
INPUT = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["a", "b"]) | JSON,
        "datatype": st.sampled_from([*DTYPES, "BYTES", "X"]),
        "shape": JSON,
    },
    optional={"data": JSON, "parameters": JSON},
)


@settings(max_examples=500, deadline=None)
@given(
    st.fixed_dictionaries(
        {"inputs": st.lists(INPUT, max_size=2) | JSON},
        optional={"id": JSON, "parameters": JSON, "outputs": JSON},
    ),
    st.binary(max_size=16),
    st.none() | st.integers(0, 400),
)
def test_nothing_crashes(request: Any, blob: bytes, length: int | None) -> None:
    """Whatever a body holds, it is read or refused."""
    body = json.dumps(request).encode() + blob
    try:
        read_request(body, None if length is None else min(length, len(body)))
    except FacadeError:
        return


def body_of(**input_: Any) -> bytes:
    """Write a request with one input."""
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2]} | input_]}).encode()


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({"data": [1]}, "stands for 2 elements; 'data' has 1"),
        ({"data": [[1], [2], [3]]}, "'data' has 3"),
        ({"data": [1, "2"]}, "element 1"),
        ({"data": [1, None]}, "element 1"),
        ({"data": [1, True]}, "element 1"),
        ({"data": [1, {}]}, "element 1"),
        ({"data": 5}, "must be a list"),
        ({"data": "abc"}, "must be a list"),
        ({"data": {"a": [1]}}, "must be a list"),
        ({"data": None}, "must be a list"),
        ({"data": [1, 1e39]}, "too large for FP32"),
        ({"datatype": "FP64", "data": [1, 10**400]}, "FP64"),
        ({"datatype": "INT8", "data": [1, 128]}, "element 1"),
        ({"datatype": "INT8", "data": [1, -129]}, "element 1"),
        ({"datatype": "UINT8", "data": [-1, 1]}, "element 0"),
        ({"datatype": "INT32", "data": [1.5, 1]}, "element 0"),
        ({"datatype": "INT32", "data": [True, 1]}, "element 0"),
        ({"datatype": "INT64", "data": [2**63, 1]}, "INT64"),
        ({"datatype": "UINT64", "data": [2**64, 1]}, "too large for UINT64"),
        ({"datatype": "UINT64", "data": [10**100, 1]}, "UINT64"),
        ({"datatype": "BOOL", "data": [0, 1]}, "element 0"),
        ({"datatype": "FP16", "data": [1, 2]}, "JSON can't hold FP16"),
        ({"datatype": "BF16", "data": [1, 2]}, "JSON can't hold BF16"),
        ({"datatype": "BYTES", "data": ["a", 1]}, "element 1 is no text"),
        ({"datatype": "BYTES", "data": [["a"], [[1]]]}, "element 1 is no text"),
        ({"datatype": "STRING", "data": ["a", "b"]}, "no datatype 'STRING'"),
        ({"shape": [-1], "data": [1]}, "negative"),
        ({"shape": [2, -1], "data": [1]}, "negative"),
        ({"shape": [2**40, 2**40], "data": [1]}, "more elements"),
        ({"shape": [2**62], "data": [1]}, "more elements"),
        ({"shape": [0, 2**70], "data": []}, "more elements"),
        ({"shape": [1] * 40, "data": [1]}, "dimensions"),
        ({"shape": [1.5], "data": [1]}, "inputs[0].shape[0]"),
        ({"shape": "2", "data": [1, 2]}, "inputs[0].shape"),
        ({"name": 3, "data": [1, 2]}, "inputs[0].name"),
        ({}, "neither"),
        ({"data": [1, 2], "parameters": {"binary_data_size": 8}}, "both"),
        ({"parameters": {"binary_data_size": 8}}, "Inference-Header-Content-Length"),
        ({"parameters": {"binary_data_size": "8"}}, "number of bytes"),
        ({"parameters": {"binary_data_size": -8}}, "number of bytes"),
        ({"parameters": {"binary_data_size": True}}, "number of bytes"),
    ],
)
def test_what_is_wrong_with_an_input_is_named(given_: dict[str, Any], said: str) -> None:
    """The input, and what is the matter."""
    with pytest.raises(InvalidInput) as refused:
        read_request(body_of(**given_))

    assert said in refused.value.message
    assert "x'" in refused.value.message or "inputs[0]" in refused.value.message


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999", "01", "[1", "1,,2", "1]"])
def test_what_isnt_json_is_refused(text: str) -> None:
    """Numbers that JSON doesn't know, and brackets that don't match."""
    body = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [%s]}]}' % text.encode()
    with pytest.raises(InvalidInput):
        read_request(body)


@pytest.mark.parametrize(
    ("size", "blob", "said"),
    [
        (8, b"1234", "4 bytes are left"),
        (7, b"1234567", "8 bytes; 'binary_data_size' is 7"),
        (8, b"123456789", "1 bytes follow"),
        (2**63, b"12345678", "bytes are left"),
    ],
)
def test_sizes_that_dont_match_are_refused(size: int, blob: bytes, said: str) -> None:
    """Against the body, the shape, and what is left over."""
    head = body_of(parameters={"binary_data_size": size})
    with pytest.raises(InvalidInput, match=said):
        read_request(head + blob, len(head))


@pytest.mark.parametrize("value", [b"-1", b"x", b"", b"1.5", b"11", b"9" * 5000, b"\xb2"])
def test_a_header_must_lie_within_the_body(value: bytes) -> None:
    """As the protocol's document says; superscripts are digits to some."""
    with pytest.raises(InvalidInput, match="Inference-Header-Content-Length"):
        find_header_length(value, b"0123456789")


def test_what_lets_a_caller_reach_beyond_the_request_is_refused() -> None:
    """Shared memory, other callers' turns, Triton's own parameters."""
    region = {"shared_memory_region": "r"}
    for given_ in ({"parameters": region}, {"data": [1, 2], "parameters": region}):
        with pytest.raises(PermissionDenied, match="Input 'x': shared memory"):
            read_request(body_of(**given_))
    request = json.loads(body_of(data=[1, 2]))
    for extra, error in (
        (
            {"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]},
            "Output 'y': shared memory",
        ),
        ({"parameters": {"priority": 1}}, "priority"),
        ({"parameters": {"triton_enable_empty_final_response": True}}, "triton_"),
        ({"parameters": {"a": []}}, "'a'"),
        ({"parameters": {"a": 2**63}}, "'a'"),
        ({"parameters": {"timeout": -1}}, "timeout"),
        ({"parameters": {"binary_data_output": 1}}, "binary_data_output"),
        ({"outputs": [{"name": "y"}, {"name": "y"}]}, "'y' comes twice"),
        ({"outputs": [{"name": "y", "parameters": {"classification": -1}}]}, "classification"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "binary_data"),
        ({"inputs": request["inputs"] * 2}, "'x' comes twice"),
    ):
        with pytest.raises(FacadeError, match=error):
            read_request(json.dumps(request | extra).encode())


def test_what_a_request_asks_for_is_read() -> None:
    """Its id, parameters, outputs and how each shall travel."""
    request = json.loads(body_of(data=[1, 2])) | {
        "id": "42",
        "parameters": {"temperature": 0.5, "n": 3, "flag": True, "name": "a", "binary_data_output": True},
        "outputs": [
            {"name": "y", "parameters": {"binary_data": False}},
            {"name": "z", "parameters": {"classification": 2}},
        ],
    }
    read = read_request(json.dumps(request).encode())

    assert read.request_id == "42"
    assert read.outputs == ("y", "z")
    assert read.options == InferOptions({"temperature": 0.5, "n": 3, "flag": True, "name": "a"}, {"z": 2})
    assert (read.binary, read.is_binary) == ({"y": False}, True)


def test_an_answer_says_what_the_protocol_asks_for() -> None:
    """The header's length counts the JSON alone; nothing binary, no header."""
    outputs = {"y": Tensor("y", "FP32", (1,), struct.pack("<f", 1)), "z": Tensor("z", "BYTES", (0,), b"")}
    written = write_response(Wanted([], request_id="7", binary={"y": True}), "m", "3", outputs, {"a": 1})

    assert json.loads(written.body[: written.header_length]) == {
        "id": "7",
        "model_name": "m",
        "model_version": "3",
        "parameters": {"a": 1},
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}},
            {"name": "z", "datatype": "BYTES", "shape": [0], "data": []},
        ],
    }
    assert written.body.endswith(struct.pack("<f", 1))
    assert write_response(Wanted([], is_binary=True), "m", "3", {"z": outputs["z"]}, {}).header_length is None


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("y", "FP32", (1,), struct.pack("<f", math.nan)),
        Tensor("y", "FP64", (1,), struct.pack("<d", math.inf)),
        Tensor("y", "FP16", (1,), b"00"),
        Tensor("y", "BF16", (1,), b"00"),
        Tensor("y", "BYTES", (1,), b"\1\0\0\0\xff"),
    ],
)
def test_what_json_cant_hold_is_named(tensor: Tensor) -> None:
    """With the way to get it."""
    with pytest.raises(InvalidInput, match=r"Output 'y': JSON can't hold .*binary_data"):
        write_response(Wanted([]), "m", "1", {"y": tensor}, {})


def one_input(datatype: str, shape: list[int]) -> dict[str, Any]:
    """Write what Triton tells of a model with one input."""
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": [str(length) for length in shape]}]}


def test_a_raw_body_gets_the_only_shape_it_can_have() -> None:
    """A batch of one, one open dimension from the length, one text."""
    assert read_raw(b"\0" * 24, one_input("FP32", [-1, 2, -1]), is_batched=True).inputs[0].shape == (1, 2, 3)
    assert read_raw(b"", one_input("FP32", [-1]), is_batched=False).inputs[0].shape == (0,)
    text = read_raw(b"hi", one_input("BYTES", [-1, 1]), is_batched=True)
    assert text.inputs[0] == Tensor("x", "BYTES", (1, 1), b"\2\0\0\0hi")
    assert text.is_binary


@pytest.mark.parametrize(
    ("body", "metadata"),
    [
        (b"123", one_input("FP32", [-1])),
        (b"1234", one_input("FP32", [-1, -1])),
        (b"1234", one_input("FP32", [2])),
        (b"1234", one_input("FP32", [-1, 0])),
        (b"1234", one_input("BYTES", [2])),
        (b"1234", {"inputs": []}),
    ],
)
def test_a_raw_body_that_fits_several_shapes_is_refused(body: bytes, metadata: dict[str, Any]) -> None:
    """Or none."""
    with pytest.raises(InvalidInput):
        read_raw(body, metadata, is_batched=False)


@pytest.mark.parametrize("data", [b'["x\x92y"]', b'[["x\x92y"]]', b'[["a"], {"\x92": 1}]'])
def test_bytes_that_arent_utf8_are_no_json(data: bytes) -> None:
    """Flat or nested; they travel as binary data."""
    body = b'{"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], "data": %b}]}' % data

    with pytest.raises(InvalidInput, match="isn't valid UTF-8; send bytes as binary data"):
        read_request(body)
