"""Stop a process where it is and let it go on, for tests of what its neighbours then do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from deploy.local.linux import stat_fields

# A thread stops when the kernel next runs it, so a loaded machine needs time; a process that
# takes longer than this sits in an uninterruptible wait (state D, proc(5)).
STOP_LIMIT_S = 10.0


def freeze(pid: int) -> None:
    """
    Stop a process; its connections stay open and nothing is answered.

    The signal is sent to the process, and each of its threads works on until it notices: only
    when all of them stand still can a test say that nothing more is answered.

    Args:
        pid: The process.

    Raises:
        ProcessLookupError: There is none.
        TimeoutError: A thread still runs after STOP_LIMIT_S.
    """
    os.kill(pid, signal.SIGSTOP)
    limit = time.monotonic() + STOP_LIMIT_S
    while _runs(pid):
        if time.monotonic() > limit:
            raise TimeoutError(f"process {pid} was told to stop and still runs after {STOP_LIMIT_S} s")
        time.sleep(0.001)  # the kernel tells only a parent, and not all are our children


def thaw(pid: int) -> None:
    """
    Let a frozen process go on; it then answers what it was sent meanwhile.

    Args:
        pid: The process; it may be gone.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)


def _runs(pid: int) -> bool:
    """Whether any thread neither stands still nor has ended."""
    for thread in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if stat_fields(thread)[0] not in "TtZX":
                return True
    return False
