"""
The janitor: a process that outlives the supervisor for as long as it takes to clean up after it.

It holds the reading end of a pipe whose writing end only the supervisor has. However that one ends, by
SIGKILL too, the kernel closes the pipe. Then every process of the run is ended, and its shared memory and
folders removed. After a regular end there is nothing left to do, and nothing is said.

Run as ``python -m deploy.local.janitor RUN SHM_PREFIX``, in a session of its own, the pipe on stdin.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

from deploy.local import linux

_GRACE_S = 5.0
_FOLDERS = "folders "


def wait_and_clean_up(run: str, shm_prefix: str) -> None:
    """
    Wait for the end of the supervisor, then clean up.

    Args:
        run: The mark of the run's processes.

        shm_prefix: What the names of its shared-memory regions begin with.
    """
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    folders: list[str] = []
    for line in sys.stdin:
        if line.startswith(_FOLDERS):
            folders = line.removeprefix(_FOLDERS).split()
    ended = linux.end_marked_processes(run, _GRACE_S)
    regions = linux.remove_shared_memory(shm_prefix)
    for folder in folders:
        # Triton removes its folders itself if it still had the time.
        with contextlib.suppress(OSError):
            Path(folder).rmdir()
    if ended or regions:
        with contextlib.suppress(OSError):
            os.write(2, b"The supervisor was killed; everything it had started is stopped and removed.\n")


def folders_line(folders: set[Path]) -> bytes:
    """
    Write what the supervisor tells its janitor about Triton's folders.

    Args:
        folders: All of them; what was told before no longer counts.

    Returns:
        One line for the pipe.
    """
    return f"{_FOLDERS}{' '.join(str(folder) for folder in sorted(folders))}\n".encode()


if __name__ == "__main__":
    wait_and_clean_up(*sys.argv[1:3])
