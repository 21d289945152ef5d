"""What answers of the V2 protocol look like, and errors of all surfaces, for the documentation."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class OpenAIErrorDetails(msgspec.Struct):
    """What went wrong, as OpenAI writes it."""

    message: str
    """For people: what is wrong and what to do."""

    type: str
    """OpenAI's kind."""

    param: str | None
    """The request's field that is wrong."""

    code: str | None
    """For programs."""


class OpenAIError(msgspec.Struct):
    """An error under ``/v1``."""

    error: OpenAIErrorDetails
    """What went wrong."""


class V2Error(msgspec.Struct):
    """An error under ``/v2``."""

    error: str
    """For people: what is wrong and what to do."""


class ProblemDetails(msgspec.Struct):
    """An error elsewhere, after RFC 9457."""

    type: Literal["about:blank"]
    """What the status means is all there is to know of the type."""

    title: str
    """The kind, in words."""

    status: int
    """The HTTP status."""

    detail: str
    """For people: what is wrong and what to do."""

    code: str
    """For programs."""

    instance: str
    """The path that was asked."""

    param: str | UnsetType = UNSET
    """The request's field that is wrong."""


class V2Tensor(msgspec.Struct):
    """An output."""

    name: str
    """Its name."""

    datatype: str
    """BOOL, UINT8, …, BYTES."""

    shape: list[int]
    """Lengths of its dimensions."""

    data: list[Any] | UnsetType = UNSET
    """Its elements in a row, unless they follow as binary data."""

    parameters: dict[str, Any] | UnsetType = UNSET
    """``binary_data_size`` where they do."""


class V2InferAnswer(msgspec.Struct):
    """What a model made of tensors."""

    model_name: str
    """Who answered."""

    model_version: str
    """Its version."""

    outputs: list[V2Tensor]
    """The outputs that were asked for."""

    id: str | UnsetType = UNSET
    """The request's, where it has one."""

    parameters: dict[str, Any] | UnsetType = UNSET
    """What the model says besides."""


class V2Generated(msgspec.Struct):
    """A text; of a stream, each event."""

    model_name: str
    """Who answered."""

    model_version: str
    """Its version."""

    text_output: str
    """The text; the prompt before it unless told otherwise."""

    finish_reason: str | UnsetType = UNSET
    """Why it ended, where that was asked for."""

    num_input_tokens: int | UnsetType = UNSET
    """Tokens read, where that was asked for."""

    num_output_tokens: int | UnsetType = UNSET
    """Tokens written, where that was asked for."""


class V2Server(msgspec.Struct):
    """Triton."""

    name: str
    """Its name."""

    version: str
    """Its version."""

    extensions: list[str]
    """What can be used of it through the façade."""


class V2Described(msgspec.Struct):
    """One of a model's inputs or outputs."""

    name: str
    """Its name."""

    datatype: str
    """BOOL, UINT8, …, BYTES."""

    shape: list[int]
    """Lengths of its dimensions; -1 for any."""


class V2Model(msgspec.Struct):
    """A model, as Triton knows it."""

    name: str
    """Its name."""

    versions: list[str]
    """Its versions."""

    platform: str
    """What runs it."""

    inputs: list[V2Described]
    """What goes in."""

    outputs: list[V2Described]
    """What comes out."""


class V2Live(msgspec.Struct):
    """That the server runs."""

    live: bool
    """Always true."""


class V2Ready(msgspec.Struct):
    """That requests can be answered."""

    ready: bool
    """Always true; else the status is 400."""


class V2ModelReady(msgspec.Struct):
    """That a model can be asked."""

    name: str
    """Its name."""

    ready: bool
    """Always true; else the status is 400."""


class V2Statistics(msgspec.Struct):
    """What models did since Triton loaded them, over all callers."""

    model_stats: list[dict[str, Any]]
    """Triton's own figures, one object a version."""


class V2IndexEntry(msgspec.Struct):
    """A version in the repository."""

    name: str
    """The model's name."""

    version: str | UnsetType = UNSET
    """The version."""

    state: str | UnsetType = UNSET
    """READY, UNAVAILABLE, LOADING, UNLOADING."""

    reason: str | UnsetType = UNSET
    """Why it isn't ready."""
