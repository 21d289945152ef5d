"""A query and documents to the documents' order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from facade.errors import BackendFailed, InvalidInput
from facade.inference.contracts import pack_pair
from facade.inference.encode import encode_texts, refuse_long_items

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel
    from facade.inference.encode import Encode

TASKS = ("reranking",)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One document's place."""

    index: int
    """Which of the request's documents."""

    relevance_score: float
    """As the model's own activation scales it; higher is more relevant."""


@dataclass(frozen=True, slots=True)
class Reranking:
    """The answer to one request."""

    model: ServedModel
    """Who answered."""

    version: int
    """The version that answered."""

    results: list[Ranked]
    """The documents, the most relevant first."""

    prompt_tokens: int
    """Tokens that the model read, over all pairs."""


async def rerank_documents(
    encode: Encode,
    model_name: str,
    query: str,
    documents: Sequence[str],
    context: RequestContext,
    *,
    top_n: int | None = None,
    truncate: bool = True,
    prefix: str = "",
) -> Reranking:
    """
    Order documents by how well they answer a query.

    Args:
        encode: Who has items answered.

        model_name: As the caller wrote it.

        query: The question.

        documents: At least one.

        context: Who asks, until when, and what they want of the cache; learns what became of it.

        top_n: How many of the best to give; None gives all.

        truncate: Cut pairs that are too long, as rerankers' APIs do, instead of refusing them.

        prefix: What stands before the fields' names in error messages.

    Returns:
        The documents' order.

    Raises:
        InvalidInput: If a text can't be used.

        ModelNotFound: If there is no such model.

        PermissionDenied: If the caller may not use it.

        ServiceError: If Triton can't answer.
    """

    def name_document(index: int) -> str:
        return f"{prefix}documents[{index}]"

    encode.find(model_name, TASKS, context)
    if not query.strip():
        raise InvalidInput(f"'{prefix}query' must not be empty.", param=f"{prefix}query")
    (question,) = encode_texts([query], limits=encode.limits, param=f"{prefix}query")
    found = encode_texts(documents, limits=encode.limits, param=f"{prefix}documents", name_text=name_document)
    items = [pack_pair(question, document) for document in found]
    encoded = await encode.answer(model_name, TASKS, items, context)
    if not truncate:
        refuse_long_items(encoded, name_document)
    scores = np.frombuffer(b"".join(answer.values for answer in encoded.answers), dtype="<f4")
    if len(scores) != len(documents):
        raise BackendFailed(
            f"The model {encoded.model.name!r} gave {len(scores)} scores for {len(documents)} pairs."
        )
    order = np.argsort(-scores, kind="stable")[:top_n]
    results = [Ranked(place, float(scores[place])) for place in order.tolist()]
    return Reranking(encoded.model, encoded.version, results, encoded.prompt_tokens)
