"""An event loop whose time passes at once: minutes of waits, probes and back-offs in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")


class _Selector(selectors.SelectSelector):
    """Where the loop would sleep, lets its clock jump."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        """Look, and never wait."""
        found = super().select(0)
        if not found:
            assert timeout is not None, "everything waits for what never comes"
            self.now += timeout
        return found


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop with a clock of its own."""

    def __init__(self) -> None:
        self._own_selector = _Selector()
        super().__init__(self._own_selector)

    def time(self) -> float:
        """Give the time that has passed, in seconds."""
        return self._own_selector.now


def run_in_no_time(work: Coroutine[Any, Any, Result]) -> Result:
    """
    Run something to its end.

    Args:
        work: Waits for time and for its own tasks alone, not for sockets or threads.

    Returns:
        What it returns.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
