"""The plain surface: one body for every task."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec


class PredictRequest(msgspec.Struct):
    """The body of ``POST /predict``: ``prompt`` and ``inputs`` are two names for the same thing; send one."""

    prompt: str | list[str] | None = None
    """One text or several."""

    inputs: str | list[str] | None = None
    """One text or several."""

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


PREDICT_DECODER = msgspec.json.Decoder(PredictRequest)
