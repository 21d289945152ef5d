"""cohere's client, for rerank: it appends ``v1/rerank`` or ``v2/rerank`` to the base URL it is given."""

from __future__ import annotations

import os

import cohere

URL, KEY = os.environ["BASE_URL"].removesuffix("/v1"), os.environ["API_KEY"]
DOCUMENTS = ["Paris is in France.", "Rome is in Italy.", "Cats sleep."]


def main() -> None:
    """Rank three documents with both clients; both give the same order and the best two alone."""
    found = [
        client(api_key=KEY, base_url=URL).rerank(
            model="reranker", query="Where is Paris?", documents=DOCUMENTS, top_n=2
        )
        for client in (cohere.Client, cohere.ClientV2)
    ]
    for answer in found:
        assert len(answer.results) == 2
        assert answer.results[0].relevance_score >= answer.results[1].relevance_score
    assert [result.index for result in found[0].results] == [result.index for result in found[1].results]
    refused = None
    try:
        cohere.ClientV2(api_key=KEY, base_url=URL).rerank(model="nobody", query="a", documents=["b"])
    except cohere.NotFoundError as error:
        refused = error
    assert refused is not None
    assert "nobody" in str(refused.body)


main()
