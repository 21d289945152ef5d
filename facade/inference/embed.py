"""Texts to vectors: check, have them encoded, shorten what was asked to be short."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facade.errors import InvalidInput
from facade.inference.encode import encode_texts, name_items, refuse_long_items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel
    from facade.inference.encode import Encode

TASKS = ("embedding",)


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The answer to one request."""

    model: ServedModel
    """Who answered."""

    version: int
    """The version that answered."""

    vectors: list[bytes]
    """float32, little-endian, in the order of the texts."""

    prompt_tokens: int
    """Tokens that the model read, over all texts."""


async def embed_texts(
    encode: Encode,
    model_name: str,
    texts: Sequence[str],
    context: RequestContext,
    *,
    dimensions: int | None = None,
    truncate: bool = False,
    param: str = "input",
) -> Embeddings:
    """
    Turn texts into vectors.

    Args:
        encode: Who has items answered.

        model_name: As the caller wrote it.

        texts: At least one.

        context: Who asks, until when, and what they want of the cache; learns what became of it.

        dimensions: Keep so many leading components and scale back to length 1; None keeps all.

        truncate: Cut texts that are too long instead of refusing them.

        param: The request's field that holds the texts, for error messages.

    Returns:
        One vector a text.

    Raises:
        InvalidInput: If a text or *dimensions* can't be used.

        ModelNotFound: If there is no such model.

        PermissionDenied: If the caller may not use it.

        ServiceError: If Triton can't answer.
    """
    items = encode_texts(texts, limits=encode.limits, param=param)
    if dimensions is not None:
        _check_dimensions(dimensions, encode.find(model_name, TASKS, context))
    encoded = await encode.answer(model_name, TASKS, items, context)
    if not truncate:
        refuse_long_items(encoded, name_items(param, len(texts)))
    vectors = [shorten_vector(answer.values, dimensions) for answer in encoded.answers]
    return Embeddings(encoded.model, encoded.version, vectors, encoded.prompt_tokens)


def shorten_vector(vector: bytes, dimension: int | None) -> bytes:
    """
    Keep the leading components and scale back to length 1.

    Args:
        vector: float32, little-endian, of shape (model's dimension,).

        dimension: How many components to keep; None keeps all.

    Returns:
        float32, little-endian, of shape (dimension,).

    Source:
        Kusupati et al. 2022, Matryoshka Representation Learning, arXiv:2205.13147.
    """
    if dimension is None or dimension * 4 == len(vector):
        return vector
    kept = np.frombuffer(vector, dtype="<f4", count=dimension)
    norm = float(np.linalg.norm(kept))
    return (kept / norm if norm > 0 else kept).astype("<f4").tobytes()


def _check_dimensions(dimensions: int, model: ServedModel) -> None:
    whole = model.card.dimension
    if dimensions < 1 or (whole is not None and dimensions > whole):
        raise InvalidInput(
            f"'dimensions' must be between 1 and {whole}, the model's own; got {dimensions}.",
            param="dimensions",
        )
    trained = model.card.matryoshka_dimensions
    if trained and dimensions != whole and dimensions not in trained:
        raise InvalidInput(
            f"'{model.name}' was trained to be shortened to {', '.join(map(str, trained))} dimensions, or to be whole "
            f"({whole}); got 'dimensions': {dimensions}.",
            param="dimensions",
        )
