"""Availability, outages and recovery, from outcomes that are known."""

from __future__ import annotations

from tests.chaos.verdict import FAILED, LATE, RIGHT, WRONG, Outcome, judge, sum_up, to_json


def _outcomes(hows: str) -> list[Outcome]:
    """One outcome every tenth of a second: r right, w wrong, f failed, l late."""
    names = {"r": RIGHT, "w": WRONG, "f": FAILED, "l": LATE}
    return [Outcome(number / 10, 0.01, names[how], "why") for number, how in enumerate(hows)]


def test_everything_right_is_available() -> None:
    """Nothing failed: no outage, no recovery."""
    verdict = judge(_outcomes("rrrr"), 0.1)
    assert (verdict.availability, verdict.longest_outage_s, verdict.recovery_s) == (1.0, 0.0, 0.0)


def test_an_outage_lasts_until_the_next_right_answer() -> None:
    """From the first request that wasn't answered right to the next that was; the longest counts."""
    verdict = judge(_outcomes("rfrrfffrr"), 0.4)
    assert round(verdict.longest_outage_s, 6) == 0.3
    assert round(verdict.recovery_s, 6) == 0.2
    assert (verdict.failed, verdict.right) == (4, 5)
    assert verdict.reasons == {"why": 4}


def test_an_outage_without_an_end_lasts_to_the_end() -> None:
    """What never came back is out until the last request."""
    assert round(judge(_outcomes("rrfff"), 0.2).longest_outage_s, 6) == 0.2


def test_order_does_not_matter() -> None:
    """Answers come back in any order; what counts is when requests were due."""
    outcomes = _outcomes("rrfrl")
    assert judge(outcomes[::-1], 0.2) == judge(outcomes, 0.2)


def test_a_run_keeps_its_promises_only_if_every_fault_does() -> None:
    """One wrong answer, one late, one slow recovery: each is a goal missed by itself."""
    good = {"verdict": to_json(judge(_outcomes("r" * 50), 1.0))}
    assert all(sum_up([good, good])["goals"].values())
    for bad, missed in (("w", 0), ("l", 1)):
        one = {"verdict": to_json(judge(_outcomes(bad + "r" * 50), 1.0))}
        assert [*sum_up([good, one])["goals"].values()][missed] is False
    slow = {"verdict": to_json(judge(_outcomes("r" * 80 + "f"), 1.0))}
    assert [*sum_up([good, slow])["goals"].values()][3] is False
