"""Counts what a pool tells its observer."""

from __future__ import annotations

from collections import Counter


class Watcher:
    """Remembers everything."""

    def __init__(self) -> None:
        self.attempts: Counter[tuple[str, str]] = Counter()
        self.retries: Counter[tuple[str, str]] = Counter()
        self.ejections: Counter[tuple[str, str]] = Counter()

    def count_attempt(self, endpoint: str, outcome: str) -> None:
        """Remember."""
        self.attempts[endpoint, outcome] += 1

    def count_retry(self, reason: str, outcome: str) -> None:
        """Remember."""
        self.retries[reason, outcome] += 1

    def count_ejection(self, endpoint: str, reason: str) -> None:
        """Remember."""
        self.ejections[endpoint, reason] += 1
