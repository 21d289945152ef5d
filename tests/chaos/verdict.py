"""What became of requests, added up: availability, the longest outage, how long recovery took. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

RIGHT, WRONG, FAILED, LATE = "right", "wrong", "failed", "late"
"""How a request ends: the original's vector in time; another one; an error in time; nothing in time."""

AVAILABILITY = 0.9995
RECOVERY_S = 5.0


@dataclass(frozen=True)
class Outcome:
    """One request."""

    due_s: float
    """Seconds from the beginning of the fault's measurement to when it was due."""

    latency_s: float
    """Seconds from then to its end."""

    how: str
    """One of `RIGHT`, `WRONG`, `FAILED` and `LATE`."""

    detail: str = ""
    """What was said, where it isn't `RIGHT`."""


@dataclass(frozen=True)
class Verdict:
    """What one fault did."""

    due: int
    """Requests."""

    right: int
    wrong: int
    failed: int
    late: int

    availability: float
    """Share of the requests that ended right."""

    longest_outage_s: float
    """The longest time from a request that didn't end right to the next one that did, by when they were due."""

    recovery_s: float
    """Seconds from the fault's end until the last request was due that didn't end right; 0 if there was none."""

    p99_s: float
    """Latency of those that ended right."""

    reasons: dict[str, int]
    """What was said to the others, and how often."""


def judge(outcomes: Sequence[Outcome], fault_end_s: float) -> Verdict:
    """
    Add up.

    Args:
        outcomes: Of all requests, in any order.

        fault_end_s: When the fault was over, on the outcomes' clock.

    Returns:
        The verdict.
    """
    ordered = sorted(outcomes, key=lambda one: one.due_s)
    count = Counter(one.how for one in ordered)
    failing_since: float | None = None
    longest_s = recovery_s = 0.0
    for one in ordered:
        if one.how == RIGHT:
            if failing_since is not None:
                longest_s = max(longest_s, one.due_s - failing_since)
            failing_since = None
            continue
        if failing_since is None:
            failing_since = one.due_s
        recovery_s = max(recovery_s, one.due_s - fault_end_s)
    if failing_since is not None:
        longest_s = max(longest_s, ordered[-1].due_s - failing_since)
    latencies = sorted(one.latency_s for one in ordered if one.how == RIGHT) or [0.0]
    return Verdict(
        due=len(ordered),
        right=count[RIGHT],
        wrong=count[WRONG],
        failed=count[FAILED],
        late=count[LATE],
        availability=count[RIGHT] / max(len(ordered), 1),
        longest_outage_s=longest_s,
        recovery_s=recovery_s,
        p99_s=latencies[int(0.99 * (len(latencies) - 1))],
        reasons=dict(Counter(one.detail[:80] for one in ordered if one.how != RIGHT).most_common(3)),
    )


def sum_up(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """
    Judge a whole run.

    Args:
        results: Of each fault, with its `verdict` as a dictionary.

    Returns:
        Totals, and whether each goal was reached.
    """
    verdicts = [one["verdict"] for one in results]
    due = sum(one["due"] for one in verdicts)
    right = sum(one["right"] for one in verdicts)
    wrong, late = (sum(one[name] for one in verdicts) for name in ("wrong", "late"))
    recovery_s = max((one["recovery_s"] for one in verdicts), default=0.0)
    availability = right / max(due, 1)
    return {
        "due": due,
        "wrong": wrong,
        "late": late,
        "availability": availability,
        "slowest_recovery_s": recovery_s,
        "goals": {
            "no wrong answer": wrong == 0,
            "nothing hangs past its deadline": late == 0,
            f"availability of at least {AVAILABILITY:.2%}": availability >= AVAILABILITY,
            f"recovery within {RECOVERY_S:.0f} s": recovery_s <= RECOVERY_S,
        },
    }


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Write a verdict for a file."""
    return asdict(verdict)
