"""``POST /v1/classify``: texts or images to scored labels, in the shape of OpenAI's lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from facade.inference.classify import classify_inputs
from facade.routes.direct import Documented
from facade.schemas import decode
from facade.schemas.classify import CLASSIFY_DECODER, ClassifyRequest

if TYPE_CHECKING:
    from facade.context import RequestContext
    from facade.inference.encode import Encode
    from facade.routes.direct import Endpoint


DOCUMENTED = Documented(
    "/v1/classify", "classification", ClassifyRequest, "Score the labels of one text or image, or of several."
)


def build_endpoint(encode: Encode) -> Endpoint:
    """
    Make the endpoint.

    Args:
        encode: Who has items answered.

    Returns:
        What answers ``POST /v1/classify``.
    """

    async def classify(context: RequestContext, body: bytes) -> bytes:
        wanted = decode(CLASSIFY_DECODER, body)
        answer = await classify_inputs(
            encode,
            wanted.model,
            [wanted.input] if isinstance(wanted.input, str) else wanted.input,
            context,
            top_k=wanted.top_k,
            truncate=wanted.truncate,
        )
        return orjson.dumps(
            {
                "object": "list",
                "model": answer.model.name,
                "data": [
                    {
                        "object": "classification",
                        "index": index,
                        "label": scores[0].label,
                        "score": scores[0].score,
                        "scores": [{"label": found.label, "score": found.score} for found in scores],
                    }
                    for index, scores in enumerate(answer.scores)
                ],
                "usage": {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens},
            }
        )

    return classify
