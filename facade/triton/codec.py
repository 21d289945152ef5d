"""
The façade's values to and from the V2 protocol's messages; pure.

Tensors always travel in ``raw_input_contents`` / ``raw_output_contents``: one `bytes` a tensor, no Python object
an element. (grpc_service.proto: "If this field is specified, InferInputTensor::contents must not be specified for
any input tensor.")
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tritonclient.grpc import service_pb2 as pb

from facade.errors import BackendFailed
from facade.triton.interface import ModelDescription, Tensor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_LENGTH = struct.Struct("<I")


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


def to_infer_request(
    model_name: str, model_version: str, inputs: Sequence[Tensor], outputs: Sequence[str]
) -> pb.ModelInferRequest:
    """
    Write one ModelInferRequest.

    Args:
        model_name: Name in the repository.

        model_version: Decimal number, or empty for Triton's choice.

        inputs: All input tensors.

        outputs: Names of the outputs wanted.

    Returns:
        The message.
    """
    request = pb.ModelInferRequest(model_name=model_name, model_version=model_version)
    for tensor in inputs:
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        request.raw_input_contents.append(tensor.raw)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def from_infer_response(response: pb.ModelInferResponse) -> dict[str, Tensor]:
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
    tensors = {}
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
