"""Parity of rerankers: each pair's score, and the order that the scores give the documents of a query."""

import numpy as np

from export.artifacts import Draft, ParityReport, SourceModel
from export.errors import ParityFailed
from export.original import asking
from export.original_text import load_reranker
from export.parity import Comparison, Float64Array
from export.parity_door import LocalDoor
from export.parity_texts import check_counts, make_batches

TIE = 1e-3
"""Scores of the original that are this near count as equal: which of them is first says nothing."""


def compare_rankings(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """
    Compare an assembled version with sentence-transformers' CrossEncoder.

    Each batch of texts is ranked as the documents of three queries: a short one, an empty one, and one so long that
    truncation has to take from the query too.

    Args:
        source: The original's files.

        draft: The version's folders.

        precision: The number format of the graph; picks the tolerance.

    Returns:
        The figures, all within the tolerance.

    Raises:
        ParityFailed: If one of them isn't, naming the worst pair.
    """
    comparison = Comparison("reranking", precision, measure="rank")
    door = LocalDoor(draft)
    original = load_reranker(source)
    if original.max_seq_length != source.max_input_tokens:
        raise ParityFailed(
            f"The original truncates at {original.max_seq_length} tokens, its files say {source.max_input_tokens}. "
            "Set model_max_length in tokenizer_config.json to the right one."
        )
    batches = make_batches(original.tokenizer, source.max_input_tokens)
    documents = dict(batches)
    queries = {
        "short query": documents["pair"][0],
        "empty query": "",
        "over-long query": documents["over-long alone"][0],
    }
    for label, texts in batches:
        for kind, query in queries.items():
            pairs = [(query, text) for text in texts]
            scores, counts = door.encode(pairs)
            with asking(source):
                expected = np.asarray(
                    original.predict(pairs, batch_size=len(pairs), show_progress_bar=False)
                ).reshape(-1, 1)
            check_counts(original.tokenizer, pairs, counts)
            comparison.check_values(f"{kind}, {label}", texts, scores, expected)
            figures = measure_ranking(scores[:, 0].astype(np.float64), expected[:, 0].astype(np.float64))
            comparison.add(f"{kind}, {label}", texts, max(counts), figures)
    return comparison.report()


def measure_ranking(scores: Float64Array, expected: Float64Array) -> dict[str, Float64Array]:
    """
    Compare the scores of one query's documents, and their order.

    The order's measure is Kendall's: of all pairs of documents that the original tells apart, those in the same
    order less those in the opposite one. It is split among the documents, so that the worst one has a name.

    Args:
        scores: Of shape (documents,).

        expected: The same of the original.

    Returns:
        Two float64 arrays of shape (documents,): differences of the scores, relative where a score is above 1; and each
        document's share of the rank correlation, whose mean is the query's.
    """
    differences = np.abs(scores - expected) / np.maximum(1.0, np.abs(expected))
    gaps = expected[:, None] - expected[None, :]
    is_apart = np.abs(gaps) > TIE
    agreement = np.where(is_apart, np.sign(gaps) * np.sign(scores[:, None] - scores[None, :]), 0.0).sum(
        axis=1
    )
    pairs = is_apart.sum()
    shares = agreement * len(scores) / pairs if pairs else np.ones(len(scores))
    return {"max_score_difference": differences, "mean_rank_correlation": shares}
