"""``POST /v1/rerank``, as Cohere's and Jina's clients call it, and ``/v2/rerank``, as Cohere's newer one does."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import orjson

from facade.inference.rerank import rerank_documents
from facade.routes.direct import Documented
from facade.schemas import decode
from facade.schemas.rerank import RERANK_DECODER, RerankRequest

if TYPE_CHECKING:
    from facade.context import RequestContext
    from facade.inference.encode import Encode
    from facade.routes.direct import Endpoint


DOCUMENTED = Documented(
    "/v1/rerank", "reranking", RerankRequest, "Order documents by how well they answer a query."
)

DOCUMENTED_V2 = Documented(
    "/v2/rerank", "reranking", RerankRequest, "The same, where the second version of Cohere's API has it."
)


def build_endpoint(encode: Encode) -> Endpoint:
    """
    Make the endpoint.

    Args:
        encode: Who has items answered.

    Returns:
        What answers ``POST /v1/rerank`` and ``POST /v2/rerank``.
    """

    async def rerank(context: RequestContext, body: bytes) -> bytes:
        wanted = decode(RERANK_DECODER, body)
        texts = wanted.texts()
        answer = await rerank_documents(
            encode,
            wanted.model,
            wanted.query,
            texts,
            context,
            top_n=wanted.top_n,
            truncate=wanted.truncate,
        )
        results: list[dict[str, object]] = [asdict(found) for found in answer.results]
        if wanted.return_documents:
            for result, found in zip(results, answer.results, strict=True):
                result["document"] = {"text": texts[found.index]}
        tokens = answer.prompt_tokens
        return orjson.dumps(
            {
                "id": context.request_id,
                "object": "list",
                "model": answer.model.name,
                "results": results,
                # Cohere's accounting and Jina's; both clients read one of them.
                "meta": {"billed_units": {"search_units": 1}, "tokens": {"input_tokens": tokens}},
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    return rerank
