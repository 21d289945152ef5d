"""The decoder's benchmark: what it makes of its figures."""

from __future__ import annotations

from tests.load.decoder.bench import GOALS, render
from tests.load.decoder.contenders import CONTENDERS
from tests.load.decoder.llama_cpp import FORMATS


def test_goals_name_contenders() -> None:
    """Every goal compares two contenders that exist."""
    known = {*CONTENDERS, *(f"llama.cpp {it}" for it in FORMATS)}
    assert {name for goal in GOALS for name in (goal.above, goal.below)} <= known


def test_ratios_are_taken_within_rounds() -> None:
    """A goal is judged by the median of the rounds' ratios, told with the least and the most."""
    rounds = [
        {"ours fp32": {"tokens_per_s": ours}, "transformers": {"tokens_per_s": theirs}}
        for ours, theirs in ((900.0, 90.0), (400.0, 100.0), (900.0, 100.0))
    ]
    table = render({32: rounds}, ["ours fp32", "transformers"])
    assert "| ours fp32 | 900 (400 to 900) |" in table
    assert "| ours fp32 at least 8 x transformers, 32 at a time | 9.00 (4.00 to 10.00) | yes |" in table
    assert "llama.cpp" not in table
