"""
What answers look like, for the documentation.

Routes write their answers by hand, which takes half the time; the tests hold real answers against these. Fields that
may be missing have `UNSET`.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType


class Usage(msgspec.Struct):
    """How many tokens it took."""

    prompt_tokens: int
    """Tokens read."""

    total_tokens: int
    """Tokens read and written."""

    completion_tokens: int | UnsetType = UNSET
    """Tokens written; only where text is generated."""


class EmbeddingObject(msgspec.Struct):
    """One vector."""

    object: Literal["embedding"]
    """OpenAI's word."""

    index: int
    """Which of the inputs."""

    embedding: list[float] | str
    """Numbers, or base64 of little-endian float32 where ``encoding_format`` asks for it."""


class EmbeddingsAnswer(msgspec.Struct):
    """Vectors, in the order of the inputs."""

    object: Literal["list"]
    """OpenAI's word."""

    data: list[EmbeddingObject]
    """The vectors."""

    model: str
    """Who answered."""

    usage: Usage
    """What it took."""


class LabelScore(msgspec.Struct):
    """One label."""

    label: str
    """Its name."""

    score: float
    """As the model's own activation scales it."""


class Classification(msgspec.Struct):
    """The labels of one input."""

    object: Literal["classification"]
    """What it is."""

    index: int
    """Which of the inputs."""

    label: str
    """The best label."""

    score: float
    """Its score."""

    scores: list[LabelScore]
    """All labels, or the best ``top_k``, the best first."""


class ClassifyAnswer(msgspec.Struct):
    """Labels, in the order of the inputs."""

    object: Literal["list"]
    """What it is."""

    model: str
    """Who answered."""

    data: list[Classification]
    """The labels."""

    usage: Usage
    """What it took."""


class RankedDocument(msgspec.Struct):
    """One document's place."""

    index: int
    """Which of the request's documents."""

    relevance_score: float
    """As the model's own activation scales it; higher is more relevant."""

    document: dict[str, str] | UnsetType = UNSET
    """Its ``text``, where ``return_documents`` asks for it."""


class RerankAnswer(msgspec.Struct):
    """Documents, the most relevant first."""

    id: str
    """The request's id."""

    object: Literal["list"]
    """What it is."""

    model: str
    """Who answered."""

    results: list[RankedDocument]
    """The documents."""

    meta: dict[str, Any]
    """Cohere's accounting: ``billed_units`` and ``tokens``."""

    usage: Usage
    """Jina's accounting."""


class PredictAnswer(msgspec.Struct):
    """What a model made of its input."""

    model: str
    """Who answered."""

    version: int
    """Its version."""

    task: str
    """What it does, which says what the result is: a vector, labels, ranked documents, a text."""

    result: Any
    """Of one input for a string, a list for a list."""

    usage: Usage
    """What it took."""

    finish_reason: str | list[str] | UnsetType = UNSET
    """Why each text ended; only where text is generated."""


class Choice(msgspec.Struct):
    """One answer to a prompt."""

    index: int
    """Its number."""

    text: str
    """The text."""

    logprobs: dict[str, Any] | None
    """How likely each token was, where that was asked for."""

    finish_reason: str | None
    """``stop`` or ``length``."""


class CompletionsAnswer(msgspec.Struct):
    """Texts that go on where prompts end."""

    id: str
    """Its own."""

    object: Literal["text_completion"]
    """OpenAI's word."""

    created: int
    """When, in seconds since 1970."""

    model: str
    """Who answered."""

    system_fingerprint: str
    """The model's version: answers with a seed are the same while this is."""

    choices: list[Choice]
    """The texts, prompt by prompt."""

    usage: Usage
    """What it took."""


class Message(msgspec.Struct):
    """What the assistant says."""

    role: Literal["assistant"]
    """Who speaks."""

    content: str | None
    """The text; none where tools are called instead."""

    refusal: None
    """OpenAI's; never used."""

    tool_calls: list[dict[str, Any]] | UnsetType = UNSET
    """Calls of tools, as OpenAI writes them."""


class ChatChoice(msgspec.Struct):
    """One answer to a conversation."""

    index: int
    """Its number."""

    message: Message
    """The answer."""

    logprobs: dict[str, Any] | None
    """How likely each token was, where that was asked for."""

    finish_reason: str | None
    """``stop``, ``length`` or ``tool_calls``."""


class ChatAnswer(msgspec.Struct):
    """Answers to a conversation."""

    id: str
    """Its own."""

    object: Literal["chat.completion"]
    """OpenAI's word; in a stream ``chat.completion.chunk``."""

    created: int
    """When, in seconds since 1970."""

    model: str
    """Who answered."""

    system_fingerprint: str
    """The model's version: answers with a seed are the same while this is."""

    choices: list[ChatChoice]
    """The answers."""

    usage: Usage
    """What it took."""


class ModelObject(msgspec.Struct):
    """A model, with what its card says."""

    id: str
    """Its name, for requests."""

    object: Literal["model"]
    """OpenAI's word."""

    created: int
    """When it was exported, in seconds since 1970."""

    owned_by: str
    """Always triton-facade."""

    task: str
    """What it does."""

    version: int
    """Which version answers."""

    versions: list[int]
    """All that Triton has loaded."""

    model_id: str | UnsetType = UNSET
    """Where it is from."""

    dimension: int | UnsetType = UNSET
    """Numbers of a vector."""

    max_input_tokens: int | UnsetType = UNSET
    """Longest input."""

    labels: list[str] | UnsetType = UNSET
    """What it can say of an input."""


class ModelList(msgspec.Struct):
    """The models that the key may use."""

    object: Literal["list"]
    """OpenAI's word."""

    data: list[ModelObject]
    """The models."""


class Live(msgspec.Struct):
    """That the process runs."""

    status: Literal["live"]
    """The word."""


class Ready(msgspec.Struct):
    """Whether requests can be answered."""

    status: Literal["ready", "not ready"]
    """The word."""

    reason: str
    """Why not."""

    models: list[str]
    """Models that answer."""
