"""Parity of classifiers: each label's score, and whether the best label is the original's."""

import numpy as np
import numpy.typing as npt
from transformers import TextClassificationPipeline

from export.artifacts import Draft, ParityReport, SourceModel
from export.original import asking, quiet
from export.original_text import load_classifier
from export.parity import Comparison, Float64Array
from export.parity_door import LocalDoor
from export.parity_texts import check_counts, make_batches

TIE = 1e-3
"""Scores of the original that are this near count as equal: which of them is first says nothing."""


def compare_classifications(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """
    Compare an assembled version with transformers' own pipeline.

    Args:
        source: The original's files.

        draft: The version's folders.

        precision: The number format of the graph; picks the tolerance.

    Returns:
        The figures, all within the tolerance.

    Raises:
        ParityFailed: If one of them isn't, naming the worst text.
    """
    comparison = Comparison("text-classification", precision, measure="top1")
    door = LocalDoor(draft)
    model, tokenizer = load_classifier(source)
    with quiet():
        pipeline = TextClassificationPipeline(model=model, tokenizer=tokenizer, device="cpu")
    for label, texts in make_batches(tokenizer, source.max_input_tokens):
        scores, counts = door.encode(texts)
        expected = _ask_pipeline(pipeline, texts, source)
        check_counts(tokenizer, texts, counts)
        comparison.check_values(label, texts, scores, expected)
        comparison.add(label, texts, max(counts), measure_scores(scores, expected))
    return comparison.report()


def measure_scores(
    scores: npt.NDArray[np.float32], expected: npt.NDArray[np.float32]
) -> dict[str, Float64Array]:
    """
    Compare scores row by row.

    Args:
        scores: Of shape (rows, labels).

        expected: The same of the original.

    Returns:
        Two float64 arrays of shape (rows,): the largest difference of a score, relative where a score is above 1; and
        1 where the best label is the original's, or as good as its best, else 0.
    """
    exact, given = expected.astype(np.float64), scores.astype(np.float64)
    differences = np.abs(given - exact) / np.maximum(1.0, np.abs(exact))
    best_here = np.take_along_axis(exact, given.argmax(axis=1)[:, None], axis=1)[:, 0]
    agrees = best_here >= exact.max(axis=1) - TIE
    return {"max_score_difference": differences.max(axis=1), "mean_top1": agrees.astype(np.float64)}


def _ask_pipeline(
    pipeline: TextClassificationPipeline, texts: list[str], source: SourceModel
) -> npt.NDArray[np.float32]:
    """Return the pipeline's scores as an array of shape (texts, labels)."""
    with asking(source):
        answers = pipeline(
            texts, batch_size=len(texts), top_k=None, truncation=True, max_length=source.max_input_tokens
        )
    column = {label: place for place, label in enumerate(source.labels)}
    scores = np.zeros((len(texts), len(column)), dtype=np.float32)
    for row, answer in enumerate(answers):
        for entry in answer:
            scores[row, column[entry["label"]]] = entry["score"]
    return scores
