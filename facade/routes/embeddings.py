"""``POST /v1/embeddings``, as OpenAI's API reference describes it."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from typing import TYPE_CHECKING

import numpy as np
import orjson

from facade.inference.embed import embed_texts
from facade.routes.direct import Documented
from facade.schemas import decode
from facade.schemas.openai import EMBEDDINGS_DECODER, EmbeddingsRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from facade.context import RequestContext
    from facade.inference.embed import Embeddings
    from facade.inference.encode import Encode
    from facade.routes.direct import Endpoint


TURN_VECTORS = 128
"""
Vectors that are written before others get their turn, about 1 ms of a core: written at once, 2,048 of 384 numbers hold
all other requests up for 25 ms, and for longer where the model uses the same cores.
"""

DOCUMENTED = Documented(
    "/v1/embeddings", "openai", EmbeddingsRequest, "Turn one text or several into vectors."
)


def build_endpoint(encode: Encode, observe_stage: Callable[[str, float], None]) -> Endpoint:
    """
    Make the endpoint.

    Args:
        encode: Who has items answered.

        observe_stage: Told how long the writing of an answer took, in seconds.

    Returns:
        What answers ``POST /v1/embeddings``.
    """

    async def create_embeddings(context: RequestContext, body: bytes) -> bytes:
        wanted = decode(EMBEDDINGS_DECODER, body)
        answer = await embed_texts(
            encode,
            wanted.model,
            [wanted.input] if isinstance(wanted.input, str) else wanted.input,
            context,
            dimensions=wanted.dimensions,
            truncate=wanted.truncate,
        )
        started = time.perf_counter()
        content = await to_body(answer, wanted.encoding_format)
        observe_stage("serialise", time.perf_counter() - started)
        return content

    return create_embeddings


async def to_body(answer: Embeddings, encoding_format: str) -> bytes:
    """
    Write an answer as OpenAI's list object; between parts of a long one others get their turn.

    Args:
        answer: The vectors.

        encoding_format: ``float`` for JSON numbers, ``base64`` for little-endian float32 in base64.

    Returns:
        JSON.
    """
    encode = to_base64 if encoding_format == "base64" else to_numbers
    parts = []
    for first in range(0, len(answer.vectors), TURN_VECTORS):
        if first:
            await asyncio.sleep(0)
        data = [
            {"object": "embedding", "index": index, "embedding": encode(vector)}
            for index, vector in enumerate(answer.vectors[first : first + TURN_VECTORS], first)
        ]
        parts.append(orjson.dumps(data, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1])
    usage = {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens}
    rest = orjson.dumps({"model": answer.model.name, "usage": usage})
    return b"".join((b'{"object":"list","data":[', b",".join(parts), b"],", rest[1:]))


def to_base64(vector: bytes) -> str:
    """Write a float32 vector as base64 of its bytes."""
    return b64encode(vector).decode("ascii")


def to_numbers(vector: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Read a float32 vector's bytes as numbers; orjson writes the shortest decimals that give them back."""
    return np.frombuffer(vector, dtype="<f4")
