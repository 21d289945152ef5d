"""The body of ``POST /v1/classify``, after the routes of OpenAI's family: texts or images under ``input``."""

from __future__ import annotations

from typing import Annotated

import msgspec


class ClassifyRequest(msgspec.Struct):
    """The body of ``POST /v1/classify``."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    """Name of a model with the task text-classification or image-classification."""

    input: str | list[str]
    """One text or several; for a model of images, files in base64 or ``data:`` URLs."""

    top_k: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many labels of each input, the best first; all if left out."""

    truncate: bool = False
    """Cut a text that is too long instead of refusing it."""

    user: str | None = None
    """Accepted and not used."""


CLASSIFY_DECODER = msgspec.json.Decoder(ClassifyRequest)
