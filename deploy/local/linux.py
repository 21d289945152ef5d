"""
What Linux offers to leave nothing behind: death signals, subreaping, and marks in a child's environment.

A mark is an environment variable that every descendant inherits. Triton's Python stubs outlive a crashed
server and ignore SIGTERM; their mark is how they are found again, whoever their parent has become.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN_MARK = "TRITON_FACADE_RUN"
"""Environment variable that names the run a process belongs to."""

SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - the kernel's own place for shared memory
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


DIE_WITH_PARENT = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 15, 0, 0, 0); os.execv(sys.argv[1], sys.argv[1:])"
)
"""
A program for `python -c` that becomes the command behind it, which then gets SIGTERM when its parent dies.
Safer than `preexec_fn` in a parent with threads, such as a test run with gRPC.
"""


def signal_me_when_parent_dies(signum: int = signal.SIGTERM) -> None:
    """
    Ask the kernel for *signum* when the parent ends, however it ends.

    NOTE: "parent" is the thread that started this process, not the whole parent process.

    Args:
        signum: The signal to get.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, int(signum), 0, 0, 0)


def adopt_orphans() -> None:
    """Become the new parent of descendants whose own parent dies, so that they can be reaped."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def marked_processes(mark: str) -> list[int]:
    """
    Find the living processes of a run.

    Args:
        mark: The run's name, as given in `RUN_MARK`.

    Returns:
        Process ids, without the caller's own. Zombies have no environment any more and are left out.
    """
    wanted = f"{RUN_MARK}={mark}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
    return found


def dead_children(parent_pid: int) -> list[int]:
    """
    Find the children of a process that died and were not waited for.

    Args:
        parent_pid: The parent whose zombies are wanted.

    Returns:
        Process ids in state Z.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, IndexError):
            state, parent = stat_fields(entry)[:2]
            if state == "Z" and int(parent) == parent_pid:
                found.append(int(entry.name))
    return found


def end_marked_processes(mark: str, grace_s: float) -> list[int]:
    """
    End every process of a run: SIGTERM, then SIGKILL for those that ignore it.

    Args:
        mark: The run's name.

        grace_s: Seconds between the two signals; 0 kills at once.

    Returns:
        The process ids that were found.
    """
    ended: set[int] = set()
    deadline = time.monotonic() + grace_s
    signum = signal.SIGTERM if grace_s > 0 else signal.SIGKILL
    told: set[int] = set()
    while running := marked_processes(mark):
        ended.update(running)
        if time.monotonic() >= deadline:
            signum, told = signal.SIGKILL, set()
        for pid in set(running) - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signum)
            told.add(pid)
        time.sleep(0.02)
        reap(running)
    reap(list(ended))
    return sorted(ended)


def end_group(group: int) -> None:
    """
    Kill what is left of a process group, whether it listens to signals or not.

    Args:
        group: The group's id, which is its leader's process id.
    """
    while members := [pid for pid, state, pgrp in _all_processes() if pgrp == group and state not in "ZX"]:
        for pid in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    # Orphans of the group have become our own children if we adopt orphans.
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass


def _all_processes() -> Iterator[tuple[int, str, int]]:
    """List (process id, state, process group) of all processes."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                fields = stat_fields(entry)
                yield int(entry.name), fields[0], int(fields[2])


def stat_fields(entry: Path) -> list[str]:
    """
    Read what the kernel says of a process or a thread.

    Args:
        entry: Its folder under /proc.

    Returns:
        State, parent, group and so on, from the third field of proc(5) on: the command before them may hold spaces.

    Raises:
        OSError: It is gone.
    """
    return (entry / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()


def reap(pids: list[int]) -> None:
    """
    Collect dead children, so that no zombie is left; others' children are ignored.

    Args:
        pids: The processes to look at.
    """
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def remove_shared_memory(prefix: str) -> list[str]:
    """
    Remove the shared-memory regions of one Triton.

    Args:
        prefix: What the names of its regions begin with; never empty.

    Returns:
        The names removed.

    Raises:
        ValueError: If *prefix* is empty, which would remove everybody's regions.
    """
    if not prefix:
        raise ValueError("an empty prefix would remove the regions of other programs")
    removed = []
    for region in SHARED_MEMORY.glob(f"{prefix}*"):
        region.unlink(missing_ok=True)
        removed.append(region.name)
    return removed


def remembers(pid: int, text: str) -> bool:
    """
    Search the writable memory of one of our own children.

    Args:
        pid: The child.

        text: What to look for.

    Returns:
        Whether it is there; False too if the memory can't be read.
    """
    wanted = text.encode()
    try:
        with Path(f"/proc/{pid}/maps").open() as maps, Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
            for line in maps:
                span, permissions, _, _, inode, *_ = line.split()
                if permissions.startswith("rw") and inode == "0":
                    start, end = (int(address, 16) for address in span.split("-"))
                    memory.seek(start)
                    # Huge regions are reserved, not used; what we look for is among the first allocations.
                    with contextlib.suppress(OSError):
                        if wanted in memory.read(min(end - start, 16 * 1024**2)):
                            return True
    except (OSError, OverflowError):
        return False
    return False


def catches(pid: int, signum: int) -> bool:
    """
    Tell whether a process has a handler of its own for a signal.

    Args:
        pid: The process.

        signum: The signal.

    Returns:
        Whether it has; False too if the process has ended.
    """
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("SigCgt:"):
                return bool(int(line.split()[1], 16) >> (signum - 1) & 1)
    return False
