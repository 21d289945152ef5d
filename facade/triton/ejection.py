"""
Whether an endpoint gets calls: the states that it goes through when it fails; pure, with the clock passed in.

::

      up ──three failures in a row, or known to be dead──► out ──probe answered──► on trial ──call answered──► up
                                                            ▲ │                        │
                                                            └─┴── probe or call failed ┘   the wait doubles

Out, it gets probes and no calls; on trial, one call at a time. Waits have jitter, so that the façades that lost an
endpoint together don't come back together.

Source:
    Envoy's outlier detection (five failures in a row, waits that grow with each ejection); Brooker 2015, Exponential
    Backoff and Jitter, AWS Architecture Blog ("equal jitter"). Envoy waits for much longer, because it finds out with
    real calls whether a host is back; a probe costs nobody anything.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

EJECT_AFTER = 3
"""Failures in a row. One can be the end of a connection that was idle, and two the end of two."""

FORGET_S = 30.0
"""An endpoint that was up for so long begins with the shortest wait again, in seconds."""


class State(Enum):
    """Whether calls are sent."""

    UP = "up"
    """As many as come."""

    OUT = "out"
    """None."""

    TRIAL = "trial"
    """One at a time."""


class Backoff(NamedTuple):
    """How long to stay away."""

    first_s: float
    """The first time, in seconds."""

    most_s: float
    """At the most, in seconds."""


PROBES = Backoff(first_s=0.5, most_s=4.0)
"""Of endpoints, which are probed: with up to 4 s, one that is back has calls again within five."""

TRIALS = Backoff(first_s=1.0, most_s=30.0)
"""Of models that hang at an endpoint which lives: only a caller's call can tell, so it is tried more seldom."""


class Ejection:
    """
    What is known of one endpoint, or of one model at it.

    Args:
        backoff: How long it stays out.

        clock: Gives the time, in seconds.

        uniform: Gives a number between two others, at random.
    """

    def __init__(
        self, backoff: Backoff, clock: Callable[[], float], uniform: Callable[[float, float], float]
    ) -> None:
        self.state = State.UP
        self.out_since = 0.0
        """When it went out, or last failed while it was out; on the clock."""

        self._backoff = backoff
        self._clock = clock
        self._uniform = uniform
        self._failures = 0
        self._level = 0
        self._due = 0.0
        self._up_since = clock()

    @property
    def wait_s(self) -> float:
        """Seconds until it may be tried."""
        return max(0.0, self._due - self._clock())

    def succeed(self) -> None:
        """It answered a call. Out, that changes nothing: what was sent before may still be answered."""
        self._failures = 0
        if self.state is State.TRIAL:
            self.state = State.UP
            self._up_since = self._clock()

    def fail(self) -> bool:
        """
        It failed a call.

        Returns:
            Whether it goes out by that.
        """
        self._failures += 1
        if self.state is State.OUT:
            # Where everything is out, the one that failed last is the last to be asked again.
            self.out_since = self._clock()
            return False
        if self.state is State.UP and self._failures < EJECT_AFTER:
            return False
        return self.eject()

    def eject(self) -> bool:
        """
        It is known to be dead.

        Returns:
            Whether that is news.
        """
        if self.state is State.OUT:
            return False
        now = self._clock()
        if self.state is State.UP and now - self._up_since > FORGET_S:
            self._level = 0
        self.state = State.OUT
        self.out_since = now
        self.postpone()
        return True

    def postpone(self) -> None:
        """It stays out, and longer than the last time."""
        wait_s = min(self._backoff.first_s * 2**self._level, self._backoff.most_s)
        if wait_s < self._backoff.most_s:
            self._level += 1
        self._due = self._clock() + wait_s * self._uniform(0.5, 1.0)

    def admit(self) -> None:
        """A probe was answered."""
        if self.state is State.OUT:
            self.state = State.TRIAL
            self._failures = 0
