"""The plain surface: one body for every task."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class RerankInputs(msgspec.Struct, forbid_unknown_fields=True):
    """``inputs`` for the task reranking."""

    query: str
    """The question."""

    documents: list[str]
    """What is to be ordered."""


class PredictRequest(msgspec.Struct):
    """The body of ``POST /predict``: ``prompt`` and ``inputs`` are two names for the same thing; send one."""

    prompt: str | list[str] | None = None
    """One text or several."""

    inputs: str | list[str] | RerankInputs | None = None
    """One input or several: texts, images in base64; for reranking an object with ``query`` and ``documents``."""

    model: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    """Name of a model; may be left out where only one is served or the operator chose one."""

    parameters: dict[str, Any] = {}
    """What the model's task takes."""


class EmbeddingParameters(msgspec.Struct, forbid_unknown_fields=True):
    """``parameters`` for the task embedding."""

    dimensions: int | None = None
    """Keep so many leading components."""

    truncate: bool = False
    """Cut a text that is too long instead of refusing it."""


class ClassificationParameters(msgspec.Struct, forbid_unknown_fields=True):
    """``parameters`` for the tasks text-classification and image-classification."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many labels of each input, the best first; all if left out."""

    truncate: bool = False
    """Cut a text that is too long instead of refusing it."""


class RerankingParameters(msgspec.Struct, forbid_unknown_fields=True):
    """``parameters`` for the task reranking."""

    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many of the best; all if left out."""

    truncate: bool = True
    """Cut a pair that is too long; false refuses it."""


PREDICT_DECODER = msgspec.json.Decoder(PredictRequest)
