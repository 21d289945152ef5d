"""A clock that a test moves."""

from __future__ import annotations


class Clock:
    """Gives the time that a test set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Give it."""
        return self.now
