"""cohere's client, for rerank: it appends ``v1/rerank`` or ``v2/rerank`` to the base URL it is given."""

from __future__ import annotations

import os

import cohere

URL, KEY = os.environ["BASE_URL"].removesuffix("/v1"), os.environ["API_KEY"]
DOCUMENTS = ["Paris is in France.", "Rome is in Italy.", "Cats sleep."]


def main() -> None:
    """Rank three documents with both clients; both give the same order and the best two alone."""
    client = cohere.ClientV2(api_key=KEY, base_url=URL)
    answer = client.rerank(model="reranker", query="Where is Paris?", documents=DOCUMENTS, top_n=2)
    older = cohere.Client(api_key=KEY, base_url=URL).rerank(
        model="reranker", query="Where is Paris?", documents=DOCUMENTS, top_n=2
    )
    for found in (answer, older):
        assert len(found.results) == 2
        assert found.results[0].relevance_score >= found.results[1].relevance_score
    assert [result.index for result in answer.results] == [result.index for result in older.results]
    refused = None
    try:
        client.rerank(model="nobody", query="a", documents=["b"])
    except cohere.NotFoundError as error:
        refused = error
    assert refused is not None
    assert "nobody" in str(refused.body)


main()
