"""
What a supervisor of a Triton has to know: whether it should be started again, and how often that was done.

Three ways to be gone, each of which leaves every request without an answer for ever:
    the server ended          the kernel says so
    a stub of it died         Triton doesn't start another one, and calls the model ready
    the server hangs          it lives, and answers no question whether it does
"""

from __future__ import annotations

import math
import signal
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from deploy.local.triton import TritonServer

RESTARTS, RESTART_WINDOW_S = 5, 60.0

STUB_PATIENCE_S = 1.5
"""How long a stub may be dead before it counts: an unloaded model's is so for an instant too."""

PROBE_INTERVAL_S = 3.0
"""Seconds between two questions whether the server lives."""

PROBE_TIMEOUT_S = 2.0
"""Seconds that it has to answer one."""

PROBES_MISSED = 6
"""So many unanswered in a row, and it hangs: half a minute, as with Kubernetes' defaults; a pause of 10 s is none."""


class Restarts:
    """Counts how often a part was restarted, and spaces the attempts."""

    def __init__(self, limit: int = RESTARTS, window_s: float = RESTART_WINDOW_S) -> None:
        """
        Start with no restarts.

        Args:
            limit: How many are tolerated within the window.

            window_s: Length of the window, in seconds.
        """
        self._limit, self._window_s = limit, window_s
        self._times: deque[float] = deque()

    def next_pause_s(self, now_s: float) -> float | None:
        """
        Count one more restart.

        Args:
            now_s: The time on a clock that never goes back, in seconds.

        Returns:
            Seconds to wait before it, twice as long each time; None if it would be one too many.
        """
        while self._times and now_s - self._times[0] > self._window_s:
            self._times.popleft()
        if len(self._times) >= self._limit:
            return None
        self._times.append(now_s)
        return math.ldexp(0.1, len(self._times) - 1)


class TritonWatch:
    """
    Looks at a Triton that was ready.

    Args:
        triton: The server.

        clock: A clock in seconds that never goes back.
    """

    def __init__(self, triton: TritonServer, clock: Callable[[], float] = time.monotonic) -> None:
        self._triton, self._clock = triton, clock
        self._stub_dead_since: dict[int, float] = {}
        self._next_probe_s = clock() + PROBE_INTERVAL_S
        self._missed = 0

    def what_is_wrong(self) -> str | None:
        """
        Tell why the server has to be started again; call it several times a second.

        Returns:
            The end of a sentence that begins with its name; None if all is well.
        """
        if (code := self._triton.exit_code()) is not None:
            return how_it_ended(code)
        if self._has_dead_stub():
            return "lost a process that runs a model"
        if self._hangs():
            return f"lives, but left {PROBES_MISSED} questions in a row unanswered"
        return None

    def forget(self) -> None:
        """Begin anew with a server that was started again."""
        self._stub_dead_since.clear()
        self._next_probe_s = self._clock() + PROBE_INTERVAL_S
        self._missed = 0

    def _has_dead_stub(self) -> bool:
        """Tell whether a stub has been dead for so long that nobody is going to replace it."""
        now = self._clock()
        self._stub_dead_since = {
            pid: self._stub_dead_since.get(pid, now) for pid in self._triton.dead_stubs()
        }
        return any(now - since > STUB_PATIENCE_S for since in self._stub_dead_since.values())

    def _hangs(self) -> bool:
        if self._clock() >= self._next_probe_s:
            # Questions are counted and not seconds: whoever was paused together with the server asks it first.
            self._missed = 0 if self._triton.is_live(PROBE_TIMEOUT_S) else self._missed + 1
            self._next_probe_s = self._clock() + PROBE_INTERVAL_S
        return self._missed >= PROBES_MISSED


def how_it_ended(code: int) -> str:
    """
    Say how a process ended.

    Args:
        code: Its exit code, as `subprocess` has it.

    Returns:
        The end of a sentence.
    """
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
