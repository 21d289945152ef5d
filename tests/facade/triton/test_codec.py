"""Tensors to protobuf and back, byte for byte."""

from __future__ import annotations

import pytest
from tritonclient.grpc import service_pb2 as pb

from facade.errors import BackendFailed
from facade.triton import codec
from facade.triton.interface import Tensor


def test_byte_strings_carry_their_lengths() -> None:
    """Each element stands behind its length in four little-endian bytes."""
    tensor = codec.to_bytes_tensor("text", [b"ab", b"", b"xyz"])

    assert tensor == Tensor("text", "BYTES", (3, 1), b"\x02\x00\x00\x00ab\x00\x00\x00\x00\x03\x00\x00\x00xyz")


def test_a_request_has_its_contents_raw() -> None:
    """Inputs travel as raw bytes, outputs by name."""
    request = codec.to_infer_request("m", "3", [Tensor("text", "BYTES", (1, 1), b"\0\0\0\0")], ["embedding"])

    assert (request.model_name, request.model_version) == ("m", "3")
    assert [(i.name, i.datatype, list(i.shape)) for i in request.inputs] == [("text", "BYTES", [1, 1])]
    assert list(request.raw_input_contents) == [b"\0\0\0\0"]
    assert [output.name for output in request.outputs] == ["embedding"]


def test_a_response_is_read_by_name() -> None:
    """Outputs come back as tensors with their shapes."""
    response = pb.ModelInferResponse(raw_output_contents=[b"\0" * 8])
    response.outputs.add(name="embedding", datatype="FP32", shape=[1, 2])

    assert codec.from_infer_response(response) == {
        "embedding": Tensor("embedding", "FP32", (1, 2), b"\0" * 8)
    }


@pytest.mark.parametrize("contents", [[], [b""]])
def test_a_tensor_without_bytes_is_a_failure(contents: list[bytes]) -> None:
    """Missing bytes are never taken for an answer."""
    response = pb.ModelInferResponse(model_name="m", raw_output_contents=contents)
    response.outputs.add(name="embedding", datatype="FP32", shape=[1, 2])

    with pytest.raises(BackendFailed):
        codec.from_infer_response(response)


def test_a_streams_response_is_its_elements_by_name() -> None:
    """And one without contents is a failure."""
    response = pb.ModelInferResponse(model_name="chat")
    response.outputs.add(name="text_output", datatype="BYTES", shape=[1])
    with pytest.raises(BackendFailed):
        codec.from_stream_response(response)
    response.raw_output_contents.append(b"\1\0\0\0a")

    assert codec.from_stream_response(response) == {"text_output": b"\1\0\0\0a"}


def test_only_ready_versions_are_listed() -> None:
    """Versions that load or failed are left out, and numbers are sorted as numbers."""
    index = pb.RepositoryIndexResponse()
    for name, version, state in [
        ("b", "10", "READY"),
        ("b", "9", "READY"),
        ("a", "1", "LOADING"),
        ("c", "", "UNAVAILABLE"),
    ]:
        index.models.add(name=name, version=version, state=state)

    assert codec.ready_versions(index) == {"b": (9, 10)}


def test_a_config_without_a_card_is_a_foreign_model() -> None:
    """No card is told from an empty card."""
    response = pb.ModelConfigResponse()
    response.config.max_batch_size = 8
    response.config.model_transaction_policy.decoupled = True

    described = codec.to_model_description("m", (1,), response)

    assert (described.model_card, described.max_batch_size, described.is_decoupled) == (None, 8, True)
    response.config.parameters["model_card"].string_value = "{}"
    assert codec.to_model_description("m", (1,), response).model_card == "{}"
