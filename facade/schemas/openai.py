"""
OpenAI's shapes, as its API reference spells them.

Fields that we don't know are ignored, as OpenAI's own clients add some; fields that we know are checked.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class EmbeddingsRequest(msgspec.Struct):
    """The body of ``POST /v1/embeddings``."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    """Name of a model with the task embedding."""

    input: str | list[str]
    """One text or several. Token ids are not taken: the tokenizer lives in Triton."""

    encoding_format: Literal["float", "base64"] = "float"
    """How vectors travel: JSON numbers, or base64 of little-endian float32."""

    dimensions: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Keep so many leading components."""

    truncate: bool = False
    """Ours: cut a text that is too long instead of refusing it."""

    user: str | None = None
    """Accepted and not used."""


EMBEDDINGS_DECODER = msgspec.json.Decoder(EmbeddingsRequest)
