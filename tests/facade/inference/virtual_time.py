"""An event loop whose clock stands still while anything happens, and jumps to the next timer when nothing does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """Minutes of waiting take milliseconds, and always come to the same end."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0

    def time(self) -> float:
        """Give the virtual seconds since the start."""
        return self._virtual_s

    def _run_once(self) -> None:
        # CPython's own names: what is due, and the timers as a heap.
        if not self._ready and self._scheduled:
            self._virtual_s = max(self._virtual_s, self._scheduled[0]._when)
        super()._run_once()


def run(main: Coroutine[object, object, Result]) -> Result:
    """Run a coroutine to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
