"""
A circuit breaker: stop asking what keeps failing, and find out by itself when it is well again.

::

    closed ──── half of the last results are failures ───> open
      ^                                                     │ open_s later, doubling each time
      └──── the probe succeeds ──── half-open <─────────────┘
                                        └── the probe fails: open again

A pure state machine: no I/O, no timer, and the clock is given. Every call that is admitted must be settled with
its true result; an error that is swallowed before it gets here is how breakers stay closed for ever.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When a breaker opens, and for how long."""

    failures: int = 5
    """Failures in sight that are needed to open; fewer are chance."""

    sample: int = 20
    """Results in sight. At least half of those seen must be failures; larger opens later and on surer ground."""

    window_s: float = 10.0
    """Seconds that a result stays in sight."""

    open_s: float = 1.0
    """Seconds from opening to the first probe."""

    open_limit_s: float = 8.0
    """Bound on that time, which doubles with each probe that fails; it is also the longest unnoticed recovery."""


def _ignore_change(_state: BreakerState) -> None:
    """Nobody wants to know."""


class Breaker:
    """
    One breaker for one thing that can fail.

    Args:
        policy: When to open and for how long.

        clock: Monotonic seconds.

        on_change: Called with each new state.
    """

    def __init__(
        self,
        policy: BreakerPolicy | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[BreakerState], None] = _ignore_change,
    ) -> None:
        self.state = BreakerState.CLOSED
        self._policy = policy or BreakerPolicy()
        self._clock = clock
        self._on_change = on_change
        self._results: deque[tuple[float, bool]] = deque(maxlen=self._policy.sample)
        # Results of calls admitted before the last change of state say nothing about the present one.
        self._generation = 0
        self._open_s = self._policy.open_s
        self._next_probe_at = 0.0

    def admit(self) -> int | None:
        """
        Ask to make a call.

        Returns:
            A ticket to settle the call with, or None where the call must not be made. In the half-open state one
            call gets a ticket, and another only if that one wasn't settled in time.
        """
        if self.state is BreakerState.CLOSED:
            return self._generation
        now = self._clock()
        if now < self._next_probe_at:
            return None
        self._next_probe_at = now + self._open_s
        self._change(BreakerState.HALF_OPEN)
        return self._generation

    def settle(self, ticket: int, *, succeeded: bool) -> None:
        """Say how the call that got *ticket* ended."""
        if ticket != self._generation:
            return
        if self.state is BreakerState.HALF_OPEN:
            self._settle_probe(succeeded=succeeded)
        elif self.state is BreakerState.CLOSED:
            now = self._clock()
            self._results.append((now, succeeded))
            if not succeeded and self._is_failing(now):
                self._open(now)

    def _settle_probe(self, *, succeeded: bool) -> None:
        """Close, or open again for longer."""
        if succeeded:
            self._open_s = self._policy.open_s
            self._results.clear()
            self._change(BreakerState.CLOSED)
        else:
            self._open_s = min(self._open_s * 2, self._policy.open_limit_s)
            self._open(self._clock())

    def _open(self, now: float) -> None:
        """Let nobody through until the next probe."""
        self._next_probe_at = now + self._open_s
        self._change(BreakerState.OPEN)

    def _is_failing(self, now: float) -> bool:
        """Whether enough of the results in sight are failures."""
        while self._results[0][0] < now - self._policy.window_s:
            self._results.popleft()
        failures = sum(not succeeded for _, succeeded in self._results)
        return failures >= self._policy.failures and 2 * failures >= len(self._results)

    def _change(self, state: BreakerState) -> None:
        """Enter *state* and make all tickets given out before worthless."""
        self._generation += 1
        if state is not self.state:
            self.state = state
            self._on_change(state)
