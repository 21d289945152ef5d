"""
The façade's values to and from the V2 protocol's messages; pure.

Tensors always travel in ``raw_input_contents`` / ``raw_output_contents``: one `bytes` a tensor, no Python object
an element. (grpc_service.proto: "If this field is specified, InferInputTensor::contents must not be specified for
any input tensor.")
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from uuid import uuid4

from tritonclient.grpc import service_pb2 as pb

from facade.errors import BackendFailed, InvalidInput
from facade.triton.interface import ModelDescription, Outputs, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from facade.triton.interface import InferOptions

_LENGTH = struct.Struct("<I")

STOP_PARAMETER = "stop_request"
"""Names the request that our decoder is to stop (export: runtime/decoder/reading.py)."""


def to_bytes_tensor(name: str, elements: Sequence[bytes]) -> Tensor:
    """
    Make a BYTES tensor of shape (len(elements), 1).

    Args:
        name: The input's name.

        elements: One byte string a row.

    Returns:
        The tensor, each element with its length before it.
    """
    pack = _LENGTH.pack
    parts: list[bytes] = []
    for element in elements:
        parts.append(pack(len(element)))
        parts.append(element)
    return Tensor(name, "BYTES", (len(elements), 1), b"".join(parts))


def split_elements(name: str, raw: bytes) -> Iterator[bytes]:
    """
    Take a BYTES tensor apart.

    Args:
        name: The tensor's.

        raw: Its elements, each behind its length in four bytes, little-endian.

    Yields:
        The elements.

    Raises:
        InvalidInput: If a length leads beyond the end.
    """
    at, end = 0, len(raw)
    while at < end:
        if at + 4 > end:
            raise InvalidInput(f"'{name}': its bytes end within an element's length.")
        (length,) = _LENGTH.unpack_from(raw, at)
        at += 4 + length
        if at > end:
            raise InvalidInput(f"'{name}': an element's length, {length}, leads beyond the end of its bytes.")
        yield raw[at - length : at]


def to_infer_request(
    model_name: str,
    model_version: str,
    inputs: Sequence[Tensor],
    outputs: Sequence[str],
    options: InferOptions | None = None,
) -> pb.ModelInferRequest:
    """
    Write one ModelInferRequest.

    Args:
        model_name: Name in the repository.

        model_version: Decimal number, or empty for Triton's choice.

        inputs: All input tensors.

        outputs: Names of the outputs wanted; none for all.

        options: What is asked for beside the tensors; None for nothing.

    Returns:
        The message.
    """
    request = pb.ModelInferRequest(model_name=model_name, model_version=model_version)
    for tensor in inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    for name in outputs:
        request.outputs.add(name=name)
    if options is not None:
        _add_options(request, options)
    return request


def to_stop_request(request: pb.ModelInferRequest) -> pb.ModelInferRequest:
    """
    Write the request that tells a decoder to stop another, and give that other an id of its own for it.

    Args:
        request: The other, not sent yet.

    Returns:
        The message, good for the same endpoint only.
    """
    request.id = uuid4().hex
    stop = pb.ModelInferRequest(model_name=request.model_name, model_version=request.model_version)
    # It has no prompt, but Triton's config demands one.
    stop.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    stop.raw_input_contents.append(bytes(4))
    stop.parameters[STOP_PARAMETER].string_param = request.id
    return stop


def _add_options(request: pb.ModelInferRequest, options: InferOptions) -> None:
    for name, value in options.parameters.items():
        # In this order: a bool is an int too.
        if isinstance(value, bool):
            request.parameters[name].bool_param = value
        elif isinstance(value, int):
            request.parameters[name].int64_param = value
        elif isinstance(value, float):
            request.parameters[name].double_param = value
        else:
            request.parameters[name].string_param = value
    for output in request.outputs:
        count = options.classifications.get(output.name)
        if count is not None:
            output.parameters["classification"].int64_param = count


def from_infer_response(response: pb.ModelInferResponse) -> Outputs:
    """
    Read the outputs of one ModelInferResponse.

    Args:
        response: Triton's answer.

    Returns:
        The output tensors by name.

    Raises:
        BackendFailed: If an output has no raw bytes. An empty one was seen from a Python backend that ran with
            numpy 2 in an environment built for numpy 1: every tensor arrived with 0 bytes and no error.
    """
    if len(response.raw_output_contents) != len(response.outputs):
        raise BackendFailed(f"Triton's answer for {response.model_name!r} has tensors without contents.")
    tensors = Outputs()
    if response.parameters:
        tensors.parameters = {
            name: getattr(value, value.WhichOneof("parameter_choice"))
            for name, value in response.parameters.items()
        }
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        shape = tuple(output.shape)
        if not raw and 0 not in shape:
            raise BackendFailed(
                f"Output {output.name!r} of {response.model_name!r} arrived without any bytes."
            )
        tensors[output.name] = Tensor(output.name, output.datatype, shape, raw)
    return tensors


def from_stream_response(response: pb.ModelInferResponse) -> Mapping[str, bytes]:
    """
    Read one of a stream's responses, in half the time of `from_infer_response`: they come by the thousand.

    Args:
        response: Triton's response.

    Returns:
        The elements of each output, by its name.

    Raises:
        BackendFailed: If an output has no raw bytes.
    """
    names, contents = [output.name for output in response.outputs], response.raw_output_contents
    if len(names) != len(contents):
        raise BackendFailed(f"Triton's answer for {response.model_name!r} has tensors without contents.")
    return dict(zip(names, contents, strict=True))


def ready_versions(index: pb.RepositoryIndexResponse) -> Mapping[str, tuple[int, ...]]:
    """
    Read which versions of which models are ready.

    Args:
        index: Triton's answer to RepositoryIndex.

    Returns:
        Ascending versions by model name; models with no ready version are left out.
    """
    versions: dict[str, list[int]] = {}
    for model in index.models:
        if model.state == "READY" and model.version.isdecimal():
            versions.setdefault(model.name, []).append(int(model.version))
    return {name: tuple(sorted(found)) for name, found in sorted(versions.items())}


def to_model_description(
    name: str, versions: tuple[int, ...], response: pb.ModelConfigResponse
) -> ModelDescription:
    """
    Keep what a façade needs of a ModelConfig.

    Args:
        name: The model's name.

        versions: Its ready versions.

        response: Triton's answer to ModelConfig.

    Returns:
        The description.
    """
    config = response.config
    card = config.parameters["model_card"].string_value if "model_card" in config.parameters else None
    return ModelDescription(
        name=name,
        ready_versions=versions,
        max_batch_size=config.max_batch_size,
        is_decoupled=config.model_transaction_policy.decoupled,
        model_card=card,
        input_names=frozenset(tensor.name for tensor in config.input),
    )
