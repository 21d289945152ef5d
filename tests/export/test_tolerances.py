"""The table of tolerances."""

import math

import pytest

from export.options import BUILT_PRECISIONS, TASKS
from export.tolerances import FIGURES, TOLERANCES, is_within
from tests.export.tolerance_table import PAGE, replace_table


@pytest.mark.parametrize("task", [task for task in TASKS if task != "text-generation"])
@pytest.mark.parametrize("precision", BUILT_PRECISIONS)
def test_every_pair_has_a_tolerance_with_its_reason(task: str, precision: str) -> None:
    """What the options offer, the table has, with words for each figure and a reason."""
    tolerance = TOLERANCES[task, precision]
    assert tolerance.reason
    assert set(tolerance.bounds) <= set(FIGURES)


def test_an_equal_format_promises_equality() -> None:
    """fp32 never allows less than four nines of cosine."""
    assert TOLERANCES["embedding", "fp32"].bounds["min_cosine"] >= 0.9999


def test_figures_are_judged_by_their_names() -> None:
    """A highest value is bounded from above, a lowest and a mean from below, and no number passes as none."""
    assert is_within("max_x", 0.1, 0.1)
    assert not is_within("max_x", 0.2, 0.1)
    assert is_within("min_x", 0.1, 0.1)
    assert not is_within("mean_x", 0.0, 0.1)
    assert not is_within("max_x", math.nan, 0.1)
    assert not is_within("min_x", math.nan, 0.1)


def test_the_docs_show_the_table() -> None:
    """docs/export.md has the table as it is; `python -m tests.export.tolerance_table` writes it again."""
    page = PAGE.read_text(encoding="utf-8")
    assert page == replace_table(page)
