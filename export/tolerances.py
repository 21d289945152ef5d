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
    }
)
"""The tolerance of each task and precision."""

FIGURES: Mapping[str, str] = MappingProxyType(
    {
        "min_cosine": "cosine of an input's two vectors",
        "mean_cosine": "cosine of an input's two vectors",
        "max_norm_difference": "relative difference of the two vectors' lengths",
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
