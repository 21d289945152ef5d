"""cohere's client, for rerank: it appends ``v1/rerank`` or ``v2/rerank`` to the base URL it is given."""

from __future__ import annotations

import os

import cohere

URL, KEY = os.environ["BASE_URL"].removesuffix("/v1"), os.environ["API_KEY"]
DOCUMENTS = ["Paris is in France.", "Rome is in Italy.", "Cats sleep."]


def main() -> None:
    """Rank three documents, whole and the best two."""
    client = cohere.Client(api_key=KEY, base_url=URL)
    found = client.rerank(model="reranker", query="Where is Paris?", documents=DOCUMENTS, top_n=2)
    assert len(found.results) == 2
    assert found.results[0].relevance_score >= found.results[1].relevance_score


main()
