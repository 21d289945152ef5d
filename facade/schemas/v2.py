"""
The V2 protocol's inference over HTTP, JSON and binary: bodies to tensors and back; pure.

A body is JSON; where tensors travel as binary data, it is JSON followed by their bytes, and a header says where the
JSON ends: "When one or more tensors are communicated as binary data, the HTTP body of the request or response will
contain the JSON inference request or response object followed by the binary tensor data in the same order as the order
of the input or output tensors are specified in the JSON."

Source:
    https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
    https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import orjson

from facade.errors import InvalidInput, PermissionDenied
from facade.schemas import decode
from facade.schemas.v2_tensors import SIZES, check_binary_size, count_elements, from_json, to_json
from facade.triton.interface import InferOptions, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facade.triton.interface import Parameter

HEADER_LENGTH = "inference-header-content-length"
"""The header that says where the JSON ends."""

MAX_CLASSES = 10_000
"""Most largest values of one row."""


class V2Input(msgspec.Struct):
    """One input."""

    name: str
    """Its name in the model's config."""

    datatype: str
    """BOOL, UINT8, …, BYTES."""

    shape: list[int]
    """Lengths of its dimensions, the batch first where the model has one."""

    data: msgspec.Raw = msgspec.Raw(b"")
    """Its elements, unless they follow as binary data."""

    parameters: dict[str, Any] | None = None
    """``binary_data_size`` where they do."""


class V2Output(msgspec.Struct):
    """One output that is wanted."""

    name: str
    """Its name in the model's config."""

    parameters: dict[str, Any] | None = None
    """``binary_data``, ``classification``."""


class V2InferRequest(msgspec.Struct):
    """The body of ``POST /v2/models/{model}/infer``."""

    inputs: list[V2Input]
    """All inputs of the model."""

    id: str | None = None
    """Comes back with the answer."""

    parameters: dict[str, Any] | None = None
    """Of the request; ``binary_data_output`` asks for all outputs as binary data."""

    outputs: list[V2Output] | None = None
    """The outputs wanted; all, where there are none."""


class V2DocumentedInput(msgspec.Struct):
    """`V2Input` for the documentation, which can't say "any JSON, read later"."""

    name: str
    datatype: str
    shape: list[int]
    data: list[Any] = []
    parameters: dict[str, Any] | None = None


class V2DocumentedRequest(msgspec.Struct):
    """`V2InferRequest` for the documentation."""

    inputs: list[V2DocumentedInput]
    id: str | None = None
    parameters: dict[str, Any] | None = None
    outputs: list[V2Output] | None = None


_DECODER = msgspec.json.Decoder(V2InferRequest)

_REFUSED_PARAMETERS = {
    "priority": "who is served first is decided by the key's tier",
    "headers": "request headers aren't handed on to models",
}


class Wanted(NamedTuple):
    """What a request asks for."""

    inputs: list[Tensor]
    """All inputs."""

    outputs: tuple[str, ...] = ()
    """Names of the outputs wanted; none for all."""

    options: InferOptions = InferOptions()
    """What goes to Triton with them."""

    request_id: str = ""
    """Comes back with the answer."""

    binary: Mapping[str, bool] = {}
    """Whether an output shall be binary, where the request says so for it."""

    is_binary: bool = False
    """Whether the others shall be."""


class Written(NamedTuple):
    """An answer's body."""

    body: bytes
    """JSON, and the binary data behind it."""

    header_length: int | None
    """Bytes of the JSON; None where nothing follows it."""


def find_header_length(value: bytes | None, body: bytes) -> int | None:
    """
    Read where a body's JSON ends.

    Args:
        value: The header ``Inference-Header-Content-Length``; None if there is none.

        body: The whole body.

    Returns:
        Bytes of the JSON, 0 if the body is one raw tensor; None if all of it is JSON.

    Raises:
        InvalidInput: If the header is no number, or larger than the body.
    """
    if value is None:
        return None
    # The length first: a number of a million digits takes its time.
    if not value.isdigit() or len(value) > 18 or int(value) > len(body):  # noqa: PLR2004  # digits of an int64
        shown = value[:40].decode("latin-1")
        raise InvalidInput(
            f"'Inference-Header-Content-Length' must be between 0 and {len(body)}, the body's length; got {shown!r}."
        )
    return int(value)


def read_request(body: bytes, header_length: int | None = None) -> Wanted:
    """
    Read an inference request.

    Args:
        body: JSON, and behind it what travels as binary data.

        header_length: Bytes of the JSON; None for all.

    Returns:
        What it asks for.

    Raises:
        InvalidInput: If it isn't what the protocol says.

        PermissionDenied: If it asks for what callers may not do, such as reading shared memory.
    """
    has_binary = header_length is not None
    request = decode(_DECODER, body[:header_length] if has_binary else body)
    at = len(body) if header_length is None else header_length
    inputs: list[Tensor] = []
    names = set()
    for one in request.inputs:
        if one.name in names:
            raise InvalidInput(f"Input '{one.name}' comes twice.")
        names.add(one.name)
        tensor, at = _read_input(one, body, at, has_binary=has_binary)
        inputs.append(tensor)
    if at != len(body):
        raise InvalidInput(
            f"{len(body) - at} bytes follow the last input's; no input says that they are its own."
        )
    parameters, is_binary = _read_parameters(request.parameters or {})
    binary, classifications = _read_outputs(request.outputs or [])
    return Wanted(
        inputs,
        tuple(output.name for output in request.outputs or []),
        InferOptions(parameters, classifications),
        request.id or "",
        binary,
        is_binary,
    )


def read_raw(body: bytes, metadata: Mapping[str, Any], *, is_batched: bool) -> Wanted:
    """
    Read a raw binary request: a body that is the only input's data and nothing else.

    Args:
        body: The data.

        metadata: What Triton tells of the model: its inputs with ``name``, ``datatype``, ``shape``.

        is_batched: Whether the first dimension is the batch's; it is 1 then.

    Returns:
        What it asks for; "all the model output will be requested to be returned in binary tensor form".

    Raises:
        InvalidInput: If the model or the length doesn't allow it.
    """
    inputs = metadata["inputs"]
    if len(inputs) != 1:
        raise InvalidInput(f"A raw binary request is for models with one input; this one has {len(inputs)}.")
    name, datatype = inputs[0]["name"], inputs[0]["datatype"]
    shape = [int(length) for length in inputs[0]["shape"]]
    if is_batched:
        shape[0] = 1
    size = SIZES[datatype]
    if size is None:
        if [length for length in shape if length != 1]:
            raise InvalidInput(f"A raw binary request has one element; input '{name}' takes another shape.")
        return Wanted([Tensor(name, datatype, tuple(shape), _with_length(body))], is_binary=True)
    fixed = size
    for length in shape:
        fixed *= length if length >= 0 else 1
    if shape.count(-1) > 1 or not fixed:
        raise InvalidInput(
            f"A raw binary request leaves the shape of input '{name}' open; send a shape with it."
        )
    if -1 in shape and len(body) % fixed == 0:
        shape[shape.index(-1)] = len(body) // fixed
    elif len(body) != fixed:
        raise InvalidInput(f"The body's {len(body)} bytes don't fit input '{name}', whose shape is {shape}.")
    return Wanted([Tensor(name, datatype, tuple(shape), body)], is_binary=True)


def write_response(
    wanted: Wanted,
    model_name: str,
    version: str,
    outputs: Mapping[str, Tensor],
    parameters: Mapping[str, Parameter],
) -> Written:
    """
    Write an inference response.

    Args:
        wanted: What was asked for.

        model_name: Who answered.

        version: The version that answered.

        outputs: What came back, in this order.

        parameters: What the model says beside them.

    Returns:
        The body.

    Raises:
        InvalidInput: If JSON was asked for and can't hold an output.
    """
    head: dict[str, Any] = {"id": wanted.request_id} if wanted.request_id else {}
    head |= {"model_name": model_name, "model_version": version}
    if parameters:
        head["parameters"] = dict(parameters)
    described, blobs = [], []
    for name, tensor in outputs.items():
        about: dict[str, Any] = {"name": name, "datatype": tensor.datatype, "shape": tensor.shape}
        if wanted.binary.get(name, wanted.is_binary):
            about["parameters"] = {"binary_data_size": len(tensor.raw)}
            blobs.append(tensor.raw)
        else:
            about["data"] = to_json(tensor)
        described.append(about)
    content = orjson.dumps(head | {"outputs": described})
    if not any(blobs):
        return Written(content, None)
    return Written(b"".join((content, *blobs)), len(content))


def _read_input(one: V2Input, body: bytes, at: int, *, has_binary: bool) -> tuple[Tensor, int]:
    """Read an input whose binary data, if it has such, begins *at* a place in the body; also where the next begins."""
    parameters = one.parameters or {}
    if "shared_memory_region" in parameters:
        raise _no_shared_memory(f"Input '{one.name}'")
    count = count_elements(one.name, one.datatype, one.shape)
    size_bytes = parameters.get("binary_data_size")
    data = bytes(one.data)
    if (size_bytes is None) == (not data):
        raise InvalidInput(
            f"Input '{one.name}' must have either 'data' or 'binary_data_size' in its 'parameters'; it has "
            f"{'both' if data else 'neither'}."
        )
    shape = tuple(one.shape)
    if size_bytes is None:
        return Tensor(one.name, one.datatype, shape, from_json(one.name, one.datatype, count, data)), at
    if not isinstance(size_bytes, int) or isinstance(size_bytes, bool) or size_bytes < 0:
        raise InvalidInput(f"Input '{one.name}': 'binary_data_size' must be a number of bytes.")
    if not has_binary and size_bytes:
        raise InvalidInput(
            f"Input '{one.name}' is said to follow as binary data; the header 'Inference-Header-Content-Length' must "
            "say where the JSON ends."
        )
    if at + size_bytes > len(body):
        raise InvalidInput(
            f"Input '{one.name}': 'binary_data_size' is {size_bytes}, and {len(body) - at} bytes are left in the body."
        )
    check_binary_size(one.name, one.datatype, count, size_bytes)
    return Tensor(one.name, one.datatype, shape, body[at : at + size_bytes]), at + size_bytes


def _read_outputs(outputs: list[V2Output]) -> tuple[dict[str, bool], dict[str, int]]:
    """Find which outputs are wanted as binary data or not, and of which only the largest values."""
    binary: dict[str, bool] = {}
    classifications: dict[str, int] = {}
    names = set()
    for output in outputs:
        if output.name in names:
            raise InvalidInput(f"Output '{output.name}' comes twice.")
        names.add(output.name)
        parameters = output.parameters or {}
        if "shared_memory_region" in parameters:
            raise _no_shared_memory(f"Output '{output.name}'")
        is_binary, count = parameters.get("binary_data"), parameters.get("classification")
        if is_binary is not None:
            if not isinstance(is_binary, bool):
                raise InvalidInput(f"Output '{output.name}': 'binary_data' must be true or false.")
            binary[output.name] = is_binary
        if count is not None:
            if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_CLASSES:
                raise InvalidInput(
                    f"Output '{output.name}': 'classification' must be a number of classes, at most {MAX_CLASSES}."
                )
            if count:
                classifications[output.name] = count
    return binary, classifications


def _read_parameters(given: Mapping[str, Any]) -> tuple[dict[str, Parameter], bool]:
    """Sort a request's parameters: those for Triton and its model, and whether outputs shall be binary."""
    parameters: dict[str, Parameter] = {}
    for name, value in given.items():
        if name in _REFUSED_PARAMETERS:
            raise PermissionDenied(f"The parameter '{name}' can't be used here: {_REFUSED_PARAMETERS[name]}.")
        if name.startswith("triton_"):
            raise InvalidInput(f"The parameter '{name}': names that begin with 'triton_' are Triton's own.")
        if not isinstance(value, bool | int | float | str):
            raise InvalidInput(f"The parameter '{name}' must be a text, a number, true or false.")
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise InvalidInput(f"The parameter '{name}' is too large for an int64.")
        parameters[name] = value
    is_binary = parameters.pop("binary_data_output", False)
    if not isinstance(is_binary, bool):
        raise InvalidInput("The parameter 'binary_data_output' must be true or false.")
    timeout_us = parameters.get("timeout", 0)
    if isinstance(timeout_us, bool) or not isinstance(timeout_us, int) or timeout_us < 0:
        raise InvalidInput("The parameter 'timeout' must be a number of microseconds.")
    return parameters, is_binary


def _with_length(element: bytes) -> bytes:
    return len(element).to_bytes(4, "little") + element


def _no_shared_memory(what: str) -> PermissionDenied:
    return PermissionDenied(
        f"{what}: shared memory can't be used through the façade; send the data, as JSON or as binary data."
    )
