"""Texts or images to scored labels."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facade.errors import BackendFailed, InvalidInput
from facade.inference.encode import check_number, encode_texts, name_items, refuse_long_items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel
    from facade.inference.encode import Encode

TASKS = ("text-classification", "image-classification")

_DATA_URL = "data:"


class LabelScore(NamedTuple):
    """One label of one input."""

    label: str
    """As the model's own configuration names it."""

    score: float
    """Between 0 and 1."""


@dataclass(frozen=True, slots=True)
class Classifications:
    """The answer to one request."""

    model: ServedModel
    """Who answered."""

    version: int
    """The version that answered."""

    scores: list[list[LabelScore]]
    """For each input its labels, the best first."""

    prompt_tokens: int
    """Tokens that the model read, over all texts; 0 for images."""


async def classify_inputs(
    encode: Encode,
    model_name: str,
    inputs: Sequence[str],
    context: RequestContext,
    *,
    top_k: int | None = None,
    truncate: bool = False,
    param: str = "input",
) -> Classifications:
    """
    Score each input's labels.

    Args:
        encode: Who has items answered.

        model_name: As the caller wrote it.

        inputs: Texts; for a model of images, each a file in base64 or a ``data:`` URL.

        context: Who asks, until when, and what they want of the cache; learns what became of it.

        top_k: How many labels of each input; None gives all.

        truncate: Cut texts that are too long instead of refusing them.

        param: The request's field that holds the inputs, for error messages.

    Returns:
        The labels of each input.

    Raises:
        InvalidInput: If an input can't be used.

        ModelNotFound: If there is no such model.

        PermissionDenied: If the caller may not use it.

        ServiceError: If Triton can't answer.
    """
    model = encode.find(model_name, TASKS, context)
    if model.card.task == "image-classification":
        check_number(inputs, limits=encode.limits, param=param, kind="image")
        name_image = name_items(param, len(inputs))
        items = [
            decode_image(image, name_image(index), encode.limits.max_image_bytes)
            for index, image in enumerate(inputs)
        ]
    else:
        items = encode_texts(inputs, limits=encode.limits, param=param)
    try:
        encoded = await encode.answer(model_name, TASKS, items, context)
    except InvalidInput as error:
        # Only the door can tell a broken image; it knows no fields.
        error.param = error.param or param
        raise
    if not truncate:
        refuse_long_items(encoded, name_items(param, len(inputs)))
    scores = [rank_labels(answer.values, encoded.model, top_k) for answer in encoded.answers]
    return Classifications(encoded.model, encoded.version, scores, encoded.prompt_tokens)


def decode_image(text: str, where: str, max_bytes: int) -> bytes:
    """
    Read an image's file from a request.

    Args:
        text: The file in base64, or a ``data:`` URL that holds it.

        where: The field, for error messages.

        max_bytes: Largest file, in bytes.

    Returns:
        The file's bytes; whether it is an image is the model's to say.

    Raises:
        InvalidInput: If it isn't base64, is empty, or is too large.
    """
    encoded = text
    if text[: len(_DATA_URL)].lower() == _DATA_URL:
        head, comma, encoded = text.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise InvalidInput(
                f"'{where}' is a data: URL without base64 in it; send 'data:image/png;base64,…'.", param=where
            )
    elif text[:8].lower().startswith(("http://", "https://")):
        raise InvalidInput(
            f"'{where}' is a web address; nothing is fetched. Send the file in base64.", param=where
        )
    try:
        image = b64decode(encoded, validate=True)
    except ValueError:
        raise InvalidInput(
            f"'{where}' is not base64; send an image file in base64, or a data: URL.", param=where
        ) from None
    if not image:
        raise InvalidInput(f"'{where}' is an empty image.", param=where)
    if len(image) > max_bytes:
        raise InvalidInput(
            f"'{where}' has {len(image)} bytes; an image may have {max_bytes}. Scale it down.", param=where
        )
    return image


def rank_labels(values: bytes, model: ServedModel, top_k: int | None) -> list[LabelScore]:
    """
    Name the scores of one input, the best first.

    Args:
        values: float32, little-endian, of shape (labels,).

        model: Whose labels they are.

        top_k: How many to keep; None keeps all.

    Returns:
        Labels and scores; equal scores in the labels' own order.

    Raises:
        BackendFailed: If there are more or fewer scores than labels.
    """
    scores = np.frombuffer(values, dtype="<f4")
    labels = model.card.labels
    if len(scores) != len(labels):
        raise BackendFailed(
            f"The model {model.name!r} gave {len(scores)} scores for its {len(labels)} labels."
        )
    order = np.argsort(-scores, kind="stable")[:top_k]
    return [LabelScore(labels[place], float(scores[place])) for place in order.tolist()]
