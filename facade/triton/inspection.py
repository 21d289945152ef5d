"""
What Triton tells about itself, written as its own HTTP endpoint writes it; pure.

Triton makes its HTTP answers of the same messages that gRPC carries: fields by their names in the .proto, numbers as
numbers (not as protobuf's JSON has it, int64 as text), enums by name, empty lists and maps written out, messages only
where they are set.

Source:
    https://github.com/triton-inference-server/server/blob/main/docs/protocol/ (metadata, model_configuration,
    statistics, model_repository).
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, NamedTuple

from tritonclient.grpc import service_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.message import Message

    from facade.triton.interface import Topic


class Question(NamedTuple):
    """One thing that can be asked."""

    method: str
    """The stub's method."""

    to_request: Callable[[str, str], Message]
    """Writes the request, given a model's name and a version, or neither."""

    read: Callable[[Any], Any]
    """Makes values for JSON of the response."""


def to_json(message: Message) -> dict[str, Any]:
    """
    Write a protobuf message as Triton's HTTP endpoint does.

    Args:
        message: Of Triton's protocol.

    Returns:
        Values for JSON.
    """
    written: dict[str, Any] = {}
    fields: list[Any] = [*message.DESCRIPTOR.fields]  # the same class from C has no stubs of its own
    for field in fields:
        value = getattr(message, field.name)
        if _is_map(field):
            of = field.message_type.fields_by_name["value"]
            written[field.name] = {str(key): _to_value(of, value[key]) for key in sorted(value)}
        elif field.is_repeated:
            written[field.name] = [_to_value(field, item) for item in value]
        elif not field.has_presence or message.HasField(field.name):
            written[field.name] = _to_value(field, value)
    return written


def _is_map(field: Any) -> bool:
    kind = field.message_type
    return kind is not None and field.is_repeated and bool(kind.GetOptions().map_entry)


def _to_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return to_json(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return value if named is None else named.name
    return b64encode(value).decode() if isinstance(value, bytes) else value


def _to_index(response: pb.RepositoryIndexResponse) -> list[dict[str, str]]:
    """Leave out what is empty, as Triton does: a model that isn't loaded has neither version nor state."""
    return [
        {name: value for name, value in to_json(model).items() if value or name == "name"}
        for model in response.models
    ]


QUESTIONS: Mapping[Topic, Question] = {
    "server": Question("ServerMetadata", lambda _name, _version: pb.ServerMetadataRequest(), to_json),
    "server-ready": Question(
        "ServerReady", lambda _name, _version: pb.ServerReadyRequest(), lambda response: bool(response.ready)
    ),
    "index": Question("RepositoryIndex", lambda _name, _version: pb.RepositoryIndexRequest(), _to_index),
    "ready": Question(
        "ModelReady",
        lambda name, version: pb.ModelReadyRequest(name=name, version=version),
        lambda response: bool(response.ready),
    ),
    "model": Question(
        "ModelMetadata", lambda name, version: pb.ModelMetadataRequest(name=name, version=version), to_json
    ),
    "config": Question(
        "ModelConfig",
        lambda name, version: pb.ModelConfigRequest(name=name, version=version),
        lambda response: to_json(response.config),
    ),
    "statistics": Question(
        "ModelStatistics",
        lambda name, version: pb.ModelStatisticsRequest(name=name, version=version),
        to_json,
    ),
}
"""By topic."""
