"""Parity of embeddings: the cosine of a text's two vectors, and their lengths, which a cosine can't see."""

import numpy as np

from export.artifacts import Draft, ParityReport, SourceModel
from export.errors import ParityFailed
from export.original import asking, load_original
from export.parity import Comparison, Float64Array
from export.parity_door import LocalDoor
from export.parity_texts import check_counts, make_batches


def compare_embeddings(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """
    Compare an assembled version with sentence-transformers.

    Args:
        source: The original's files.

        draft: The version's folders.

        precision: The number format of the graph; picks the tolerance.

    Returns:
        The figures, all within the tolerance.

    Raises:
        ParityFailed: If one of them isn't, naming the worst text.
    """
    comparison = Comparison("embedding", precision, measure="cosine")
    door = LocalDoor(draft)
    original = load_original(source)
    if original.max_seq_length != source.max_input_tokens:
        raise ParityFailed(
            f"The original truncates at {original.max_seq_length} tokens, its files say {source.max_input_tokens}. "
            "Set max_seq_length in sentence_bert_config.json to the right one."
        )
    for label, texts in make_batches(original.tokenizer, source.max_input_tokens):
        vectors, counts = door.encode(texts)
        with asking(source):
            expected = np.asarray(original.encode(texts, batch_size=len(texts), show_progress_bar=False))
        check_counts(original.tokenizer, texts, counts)
        comparison.check_values(label, texts, vectors, expected)
        cosines, norm_differences = measure(vectors.astype(np.float64), expected.astype(np.float64))
        figures = {"min_cosine": cosines, "mean_cosine": cosines, "max_norm_difference": norm_differences}
        comparison.add(label, texts, max(counts), figures)
    return comparison.report()


def measure(vectors: Float64Array, expected: Float64Array) -> tuple[Float64Array, Float64Array]:
    """
    Compare vectors row by row.

    Args:
        vectors: float64 array of shape (rows, dimension).

        expected: The same of the original.

    Returns:
        Two float64 arrays of shape (rows,): cosines, at most 1, and relative differences of the lengths. A zero
        vector counts as equal to a zero vector only.
    """
    norms, expected_norms = np.linalg.norm(vectors, axis=1), np.linalg.norm(expected, axis=1)
    both_zero = (norms == 0) & (expected_norms == 0)
    products = np.where(both_zero, 1.0, norms * expected_norms)
    dots = np.where(both_zero, 1.0, (vectors * expected).sum(axis=1))
    cosines = np.divide(dots, products, out=np.zeros_like(dots), where=products > 0)
    larger = np.maximum(np.maximum(norms, expected_norms), np.finfo(np.float64).tiny)
    return np.minimum(cosines, 1.0), np.abs(norms - expected_norms) / larger
