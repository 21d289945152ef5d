"""What the machine says of itself: CPU time and memory of process trees, load of others, versions."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import signal
import subprocess
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local.linux import stat_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CHECKOUT = Path(__file__).resolve().parents[2]
VERSIONS = (
    "fastapi",
    "grpcio",
    "numpy",
    "onnxruntime",
    "orjson",
    "tokenizers",
    "tritonclient",
    "uvicorn",
    "uvloop",
)
"""Packages whose versions are recorded."""

CALM_SHARE = 0.15
"""Share of all cores that others may use for the machine to count as calm."""


@dataclass(frozen=True)
class Memory:
    """Memory of one process."""

    rss_mib: float
    """Resident, shared pages included."""

    pss_mib: float
    """Resident, shared pages divided among those who share them."""


def tree_of(root: int) -> set[int]:
    """
    Find a process and its descendants.

    Args:
        root: Process id.

    Returns:
        Process ids of those that live.
    """
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parents[int(entry.name)] = int(stat_fields(entry)[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def cpu_s(pids: set[int]) -> float:
    """
    Add up the CPU time that processes have used.

    Args:
        pids: Process ids; those that ended count nothing.

    Returns:
        Seconds in user and system mode.
    """
    ticks = 0
    for pid in pids:
        with contextlib.suppress(OSError, IndexError):
            fields = stat_fields(Path(f"/proc/{pid}"))
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def busy_cpu_s() -> float:
    """
    Tell how long all cores together have been busy, whoever with.

    Returns:
        Seconds since the machine started, without idling and waiting for disks.
    """
    first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, first.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_S


def cores() -> int:
    """Tell how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def memory_of(pid: int) -> Memory:
    """
    Read the memory of one process.

    Args:
        pid: Its id.

    Returns:
        RSS and PSS in MiB.
    """
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value = line.split(":")
        fields[name] = int(value.split()[0]) / 1024
    return Memory(rss_mib=fields["Rss"], pss_mib=fields["Pss"])


def wait_for_calm(own: Mapping[str, set[int]], timeout_s: float, look_s: float = 1.0) -> float:
    """
    Wait until others leave the machine alone, or until patience ends.

    Args:
        own: Our processes, which are idle now and don't count.

        timeout_s: Patience, in seconds.

        look_s: Seconds of one look.

    Returns:
        Seconds waited, without the look that found it calm.
    """
    pids = set().union(*own.values())
    started = time.monotonic()
    while True:
        looked_at = time.monotonic()
        before = busy_cpu_s() - cpu_s(pids)
        time.sleep(look_s)
        others = (busy_cpu_s() - cpu_s(pids) - before) / look_s / cores()
        if others < CALM_SHARE or time.monotonic() - started > timeout_s:
            return looked_at - started


@contextlib.contextmanager
def paused(roots: set[int]) -> Iterator[None]:
    """
    Stop processes and their descendants for a while, so that they cost nothing.

    Args:
        roots: Process ids.

    Yields:
        While they stand still.
    """
    stopped = set().union(*(tree_of(root) for root in roots))
    try:
        _signal_all(stopped, signal.SIGSTOP)
        yield
    finally:
        _signal_all(stopped, signal.SIGCONT)


def _signal_all(pids: set[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def describe() -> dict[str, Any]:
    """
    Describe where the figures come from.

    Returns:
        Date, machine, versions and commit, for the report.
    """
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory_kib = int(Path("/proc/meminfo").read_text(encoding="ascii").split()[1])
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%MZ"),
        "cpu": cpu,
        "cores": cores(),
        "memory_gib": round(memory_kib / 1024**2, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONS},
        "commit": _git("rev-parse", "--short", "HEAD"),
        "is_modified": bool(_git("status", "--porcelain", "--", "facade", "export", "deploy")),
    }


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
