"""The body of ``POST /v1/rerank``, as Cohere's and Jina's API references spell it."""

from __future__ import annotations

from typing import Annotated

import msgspec


class Document(msgspec.Struct):
    """A document as an object; other fields than the text are ignored."""

    text: str
    """What is read."""


class RerankRequest(msgspec.Struct):
    """The body of ``POST /v1/rerank``."""

    model: Annotated[str, msgspec.Meta(min_length=1)]
    """Name of a model with the task reranking."""

    query: str
    """The question."""

    documents: list[str | Document]
    """What is to be ordered; at least one."""

    top_n: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many of the best; all if left out."""

    return_documents: bool = False
    """Whether the answer repeats the documents."""

    truncate: bool = True
    """Cut a pair that is too long, as both APIs do; false refuses it."""

    def texts(self) -> list[str]:
        """Give the documents' texts, in their order."""
        return [found if isinstance(found, str) else found.text for found in self.documents]


RERANK_DECODER = msgspec.json.Decoder(RerankRequest)
