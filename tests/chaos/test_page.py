"""The table and the picture of a run."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from tests.chaos.page import NOTHING_DUE, colour_of, to_svg, to_table
from tests.chaos.verdict import FAILED, RIGHT, Outcome, judge, sum_up, to_json

OUTCOMES = [Outcome(number / 10, 0.02, FAILED if number == 5 else RIGHT) for number in range(40)]
ONE = {
    "name": "kill-triton",
    "title": "kill -9: <a Triton>",
    "begins_s": 1.0,
    "ends_s": 1.0,
    "right_by_second": [0.9, 1.0, None, 1.0],
    "verdict": to_json(judge(OUTCOMES, 1.0)),
}
RESULTS = {"faults": [ONE], "total": sum_up([ONE])}


def test_the_table_says_what_was_missed() -> None:
    """A line a fault, one for all, and each goal as reached or missed."""
    table = to_table(RESULTS)
    assert "| kill -9: <a Triton> | 40 | 97.50% | 0 | 1 | 0 | 0.10 | 0.00 | 20 |" in table
    assert "| availability of at least 99.95% | missed |" in table
    assert "| no wrong answer | reached |" in table


def test_the_picture_is_well_formed() -> None:
    """A cell a second, one frame, and no markup out of titles."""
    root = ET.fromstring(to_svg(RESULTS))  # noqa: S314  # our own
    fills = [rect.get("fill") for rect in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert len(fills) == 1 + 4 + 1
    assert NOTHING_DUE in fills


def test_colours_follow_the_share() -> None:
    """All right is green; less than half is red."""
    assert colour_of(1.0) != colour_of(0.995) != colour_of(0.95) != colour_of(0.6) != colour_of(0.1)
