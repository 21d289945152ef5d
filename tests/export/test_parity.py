"""Judging figures: the worst input is named, and a mean counts over all inputs."""

import numpy as np
import pytest

from export import parity
from export.errors import ParityFailed
from export.tolerances import Tolerance


@pytest.fixture
def comparison(monkeypatch: pytest.MonkeyPatch) -> parity.Comparison:
    """A comparison that asks for a lowest cosine of 0.9, and for a mean of 0.95."""
    tolerance = Tolerance({"min_cosine": 0.9, "mean_cosine": 0.95}, "a test")
    monkeypatch.setattr(parity, "TOLERANCES", {("embedding", "fp32"): tolerance})
    return parity.Comparison("embedding", "fp32", "cosine")


def add(comparison: parity.Comparison, *cosines: float) -> None:
    """Add a batch of inputs named after their places."""
    rows = np.array(cosines)
    names = [f"text {place}" for place in range(len(rows))]
    comparison.add("batch", names, 7, {"min_cosine": rows, "mean_cosine": rows})


def test_the_worst_input_is_named(comparison: parity.Comparison) -> None:
    """One input below the bound stops the version, and the message says which, how far, and in which batch."""
    with pytest.raises(
        ParityFailed,
        match=r"is 0.8 and must be at least 0.9. The worst input is 'text 1' \(in batch 'batch' of 2",
    ):
        add(comparison, 1.0, 0.8)


def test_a_mean_counts_over_all_batches(comparison: parity.Comparison) -> None:
    """A batch below the mean passes if the others make up for it, and is named if they don't."""
    add(comparison, 0.92, 0.92)
    add(comparison, 1.0, 1.0)
    report = comparison.report()
    assert report.figures == pytest.approx({"min_cosine": 0.92, "mean_cosine": 0.96})
    assert [point.figures["min_cosine"] for point in report.points] == [0.92, 1.0]
    add(comparison, 0.91, 0.91)
    with pytest.raises(ParityFailed, match=r"mean cosine .* at least 0.95"):
        comparison.report()


def test_values_that_are_no_number_never_pass(comparison: parity.Comparison) -> None:
    """A figure that is not a number is a failure, whichever side its bound is on."""
    with pytest.raises(ParityFailed):
        add(comparison, float("nan"), 1.0)


def test_long_inputs_are_cut_in_messages() -> None:
    """A message stays one line, however long the text."""
    assert parity.shown("x" * 100) == repr("x" * 60 + "…")
