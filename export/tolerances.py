"""
How far an exported model's answers may be from the original's: a table by task and precision, each with its reason.

A figure's name says how it is judged: `min_…` is the lowest of all inputs and `mean_…` the mean over them, both at
least the bound; `max_…` is the highest, at most the bound.

Rule for later editors: no option loosens a tolerance. A number changes here, with a reason that a reviewer can check.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Tolerance:
    """What is asked of each figure of one task in one precision."""

    bounds: Mapping[str, float]
    """The bound of each figure, by the figure's name."""

    reason: str
    """Why these numbers."""


TOLERANCES: Mapping[tuple[str, str], Tolerance] = MappingProxyType(
    {
        ("embedding", "fp32"): Tolerance(
            bounds={"min_cosine": 0.9999, "max_norm_difference": 1e-3},
            reason=(
                "Same weights, same number format; only the order of additions differs, which leaves about 1e-6. "
                "A wrong pooling, mask or truncation costs 1e-2 and more."
            ),
        ),
        ("image-classification", "fp32"): Tolerance(
            bounds={"max_pixel_difference": 1e-6, "max_score_difference": 1e-3, "mean_top1": 1.0},
            reason=(
                "The door repeats the processor's arithmetic to the last bit; a wrong filter or crop costs 1e-2. "
                "Scores differ by the order of additions only, about 1e-6."
            ),
        ),
        ("image-classification", "fp16"): Tolerance(
            bounds={"max_pixel_difference": 1e-6, "max_score_difference": 2e-2, "mean_top1": 0.99},
            reason="Eleven bits of mantissa leave about 1e-3 in a logit; only near-ties may change places.",
        ),
        ("image-classification", "bf16"): Tolerance(
            bounds={"max_pixel_difference": 1e-6, "max_score_difference": 5e-2, "mean_top1": 0.97},
            reason="Eight bits of mantissa leave about 1e-2 in a logit; only near-ties may change places.",
        ),
        ("image-classification", "int8"): Tolerance(
            bounds={"max_pixel_difference": 1e-6, "max_score_difference": 1e-1, "mean_top1": 0.95},
            reason="A weight keeps 8 bits of its channel's range: about 1 % of a logit; one near-tie in 20 may change.",
        ),
        ("embedding", "fp16"): Tolerance(
            bounds={"min_cosine": 0.999, "mean_cosine": 0.9999, "max_norm_difference": 2e-3},
            reason=(
                "11 bits of precision round each value by up to 5e-4, at random; over twelve layers that leaves 1e-6 "
                "to 1e-5 of cosine. A sum that overflowed, or a mask value that became infinite, costs 1e-2 and more."
            ),
        ),
        ("embedding", "bf16"): Tolerance(
            bounds={"min_cosine": 0.995, "mean_cosine": 0.999, "max_norm_difference": 1e-2},
            reason=(
                "8 bits of precision round each product's factors by up to 4e-3: eight times fp16's, so sixty times "
                "its distance in cosine. Nothing can overflow."
            ),
        ),
        ("embedding", "int8"): Tolerance(
            bounds={"min_cosine": 0.95, "mean_cosine": 0.98, "max_norm_difference": 2e-2},
            reason=(
                "255 steps for each layer's activations. A vector at cosine c has noise of length sqrt(1 - c^2); in d "
                "dimensions it moves the similarity of two texts by about sqrt(2 (1 - c^2) / d): at 0.98 and 384 by "
                "0.014, less than between neighbours of a search's first results; at 0.95 by 0.023, for the worst text."
            ),
        ),
        ("text-classification", "fp32"): Tolerance(
            bounds={"max_score_difference": 1e-3, "mean_top1": 1.0},
            reason=(
                "Scores differ by the order of additions only, about 1e-6. A wrong activation, mask or truncation "
                "costs 1e-2 and more."
            ),
        ),
        ("text-classification", "fp16"): Tolerance(
            bounds={"max_score_difference": 2e-2, "mean_top1": 0.99},
            reason="11 bits of precision leave about 1e-3 in a logit; only near-ties may change places.",
        ),
        ("text-classification", "bf16"): Tolerance(
            bounds={"max_score_difference": 5e-2, "mean_top1": 0.97},
            reason="8 bits of precision leave about 1e-2 in a logit; only near-ties may change places.",
        ),
        ("text-classification", "int8"): Tolerance(
            bounds={"max_score_difference": 1e-1, "mean_top1": 0.95},
            reason=(
                "255 steps for each layer's activations leave a few hundredths in a score near one half; a threshold "
                "that callers set to a tenth still holds, and one near-tie in 20 may change places."
            ),
        ),
        ("reranking", "fp32"): Tolerance(
            bounds={"max_score_difference": 1e-3, "mean_rank_correlation": 0.9999},
            reason=(
                "Scores differ by the order of additions only, about 1e-6, so documents that the original tells apart "
                "by 1e-3 keep their order. Swapped segments or another truncation cost 1e-2 and more."
            ),
        ),
        ("reranking", "fp16"): Tolerance(
            bounds={"max_score_difference": 2e-2, "mean_rank_correlation": 0.99},
            reason="11 bits of precision leave about 1e-3 in a score; only near-ties may change places.",
        ),
        ("reranking", "bf16"): Tolerance(
            bounds={"max_score_difference": 5e-2, "mean_rank_correlation": 0.97},
            reason="8 bits of precision leave about 1e-2 in a score; only near-ties may change places.",
        ),
        ("reranking", "int8"): Tolerance(
            bounds={"max_score_difference": 1e-1, "mean_rank_correlation": 0.9},
            reason=(
                "255 steps for each layer's activations leave a few hundredths in a score; of 20 pairs of documents "
                "one may change places, which moves a document by a place or two among a query's results."
            ),
        ),
        ("text-generation", "fp32"): Tolerance(
            bounds={"max_greedy_gap": 1e-3},
            reason=(
                "Same weights, same number format: every token is the original's own. Where its two likeliest tokens "
                "are level to within 1e-3 of a logit, the order of additions may decide; a wrong mask, position or "
                "cache costs whole logits."
            ),
        ),
        ("text-generation", "int8"): Tolerance(
            bounds={"mean_next_token": 0.95, "max_perplexity_ratio": 1.02},
            reason=(
                "255 steps for each block of 32 weights and for each token's activations: about 1 % of a logit. One "
                "near-tie in 20 may change; a text gets no more than 2 % less expected, which readers don't notice. "
                "A model of 5 million parameters kept 98 % at 0.3 % more perplexity."
            ),
        ),
        ("text-generation", "int4"): Tolerance(
            bounds={"mean_next_token": 0.8, "max_perplexity_ratio": 1.15},
            reason=(
                "15 steps for each block of 32 weights: about 10 % of a weight's typical size. A model of 5 million "
                "parameters, the hardest case, kept 83 % of its likeliest tokens at 2.8 % more perplexity; beyond "
                "15 % a larger model in 4 bits is no better than a smaller one in 8."
            ),
        ),
    }
)
"""The tolerance of each task and precision."""

FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "min_cosine": "cosine of an input's two vectors",
        "mean_cosine": "cosine of an input's two vectors",
        "max_norm_difference": "relative difference of the two vectors' lengths",
        "max_score_difference": "difference of a score",
        "max_greedy_gap": "logit by which the original prefers its own token to the one that was written",
        "mean_next_token": "share of tokens of a text after which the likeliest next one is the original's",
        "max_perplexity_ratio": "perplexity of a text, over the original's",
        "mean_rank_correlation": "rank correlation of a query's documents",
        "mean_top1": "share of inputs whose best label is the original's",
        "max_pixel_difference": "difference of a pixel that the model is given",
    }
)
"""What each figure is, in words for a message."""


def is_within(figure: str, value: float, bound: float) -> bool:
    """
    Judge one figure.

    Args:
        figure: Its name.

        value: What was measured.

        bound: What the table asks.

    Returns:
        True if it passes; a value that is not a number doesn't.
    """
    return value <= bound if figure.startswith("max_") else value >= bound
