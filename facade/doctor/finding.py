"""What one look found."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple

Status = Literal["ok", "warning", "problem", "skipped"]
"""`problem`: requests fail, or will. `warning`: it works, and something is risky. `skipped`: not looked at, and why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's report."""

    check: str
    """What was looked at."""

    status: Status
    """How it is."""

    found: str
    """What was found, for a person; no secrets."""

    remedy: str = ""
    """What to do; empty where there is nothing to do."""


class Section(NamedTuple):
    """All findings about one subject."""

    subject: str
    """Such as ``redis``."""

    findings: list[Finding]
    """In the order in which they were looked for."""

    def to_json(self) -> list[dict[str, Any]]:
        """Write it for ``--json``."""
        return [{"subject": self.subject, **asdict(finding)} for finding in self.findings]


def ok(check: str, found: str) -> Finding:
    """Make a finding that needs nothing done."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Make a finding of something that works and is risky."""
    return Finding(check, "warning", found, remedy)


def problem(check: str, found: str, remedy: str) -> Finding:
    """Make a finding of something that fails, or will."""
    return Finding(check, "problem", found, remedy)


def skipped(check: str, found: str) -> Finding:
    """Make a finding of something that wasn't looked at."""
    return Finding(check, "skipped", found)
