"""
What this machine gives: cores, memory, open files, disk, shared memory, ports, packages.

In a container the machine's own numbers mislead; what counts is the control group's quota, read from `/sys/fs/cgroup`
(version 2, or 1).
"""

from __future__ import annotations

import errno
import importlib.util
import math
import os
import platform
import resource
import shutil
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from facade.doctor.finding import ok, problem, skipped, warning
from facade.doctor.running_facade import is_facade

if TYPE_CHECKING:
    from facade.doctor.finding import Finding

WORKER_BYTES = 128 * 1024 * 1024
"""Memory of a worker without its cache; 100 MiB were measured right after the start."""

LEAST_OPEN_FILES = 4096
"""A connection takes one; with fewer, a few thousand callers end in "too many open files"."""

LEAST_FREE_BYTES = 1024**3
"""Free disk below which the next export, or the logs, may fill it."""

LEAST_SHM_BYTES = 256 * 1024 * 1024
"""Triton's Python models pass tensors through /dev/shm; Docker gives 64 MiB unless told otherwise."""

_MIB = 1024**2
_GIB = 1024**3


def examine_packages() -> list[Finding]:
    """
    Look at Python and at what makes it fast.

    Returns:
        The findings.
    """
    libc = " ".join(platform.libc_ver()).strip() or "an unknown C library"
    findings = [ok("python", f"Python {platform.python_version()}, {libc}, {platform.machine()}")]
    missing = [name for name in ("uvloop", "httptools") if importlib.util.find_spec(name) is None]
    if missing:
        remedy = "Install triton-facade anew with pip: these belong to it."
        findings.append(problem("packages", f"{' and '.join(missing)} can't be imported", remedy))
    else:
        findings.append(ok("packages", "uvloop and httptools are there"))
    return findings


def examine_cores(workers: int, *, group: Path = Path("/sys/fs/cgroup")) -> Finding:
    """
    Compare the cores that may be used with the workers.

    Args:
        workers: How many the settings ask for.

        group: Where the control group's files are.

    Returns:
        The finding.
    """
    cores = usable_cores(group)
    found = f"{cores:g} {'core' if cores == 1 else 'cores'} for {workers} {'worker' if workers == 1 else 'workers'}"
    if workers > max(1, math.ceil(cores)):
        return warning(
            "cores",
            f"{found}: they take turns",
            f"Set FACADE_WORKERS to {max(1, int(cores))}, or give it more cores.",
        )
    return ok("cores", found)


def usable_cores(group: Path = Path("/sys/fs/cgroup")) -> float:
    """
    Count the cores that this process may use.

    Args:
        group: Where the control group's files are.

    Returns:
        The smaller of its affinity and its control group's quota.
    """
    cores = float(len(os.sched_getaffinity(0)))
    quota, _, period = _read(group / "cpu.max").partition(" ")
    if not period:
        quota, period = _read(group / "cpu/cpu.cfs_quota_us"), _read(group / "cpu/cpu.cfs_period_us")
    if quota.isdecimal() and period.isdecimal() and int(period) > 0:
        return min(cores, int(quota) / int(period))
    return cores


def examine_memory(workers: int, cache_bytes: int, *, group: Path = Path("/sys/fs/cgroup")) -> Finding:
    """
    Compare the memory with what the workers and their caches take.

    Args:
        workers: How many there are.

        cache_bytes: What each may keep.

        group: Where the control group's files are.

    Returns:
        The finding.
    """
    limit = memory_bytes(group)
    if limit is None:
        return skipped("memory", "this system doesn't say how much there is")
    needed = workers * (WORKER_BYTES + cache_bytes)
    found = f"{limit / _GIB:.1f} GiB; the façade takes up to {needed / _GIB:.2f} GiB"
    if needed > limit:
        return problem(
            "memory",
            f"{found}: it will be killed when its caches fill",
            "Lower FACADE_CACHE_MEMORY_BYTES or FACADE_WORKERS, or raise the memory limit.",
        )
    if needed > limit / 2:
        return warning(
            "memory",
            f"{found}, more than half",
            "Lower FACADE_CACHE_MEMORY_BYTES or FACADE_WORKERS if anything else runs here, such as Triton.",
        )
    return ok("memory", found)


def memory_bytes(group: Path = Path("/sys/fs/cgroup")) -> int | None:
    """
    Find the memory that this process may use.

    Args:
        group: Where the control group's files are.

    Returns:
        The smaller of the machine's and the control group's; None if neither is known.
    """
    lines = _read(Path("/proc/meminfo")).splitlines()
    total = next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal:")), None)
    limits = [total] if total is not None else []
    texts = [_read(group / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    limits += [int(text) for text in texts if text.isdecimal()]
    return min(limits) if limits else None


def examine_open_files() -> Finding:
    """
    Look at how many files and connections may be open at once.

    Returns:
        The finding.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= LEAST_OPEN_FILES:
        return ok("open files", "no limit" if soft == resource.RLIM_INFINITY else f"{soft} at once")
    return warning(
        "open files",
        f"{soft} at once, and each connection takes one",
        f"Raise it: `ulimit -n {max(LEAST_OPEN_FILES, min(hard, 65_536))}` before the start, or LimitNOFILE=65536 in "
        "the systemd unit.",
    )


def examine_disk(check: str, folder: Path) -> Finding:
    """
    Look at the free space where something is written.

    Args:
        check: What the folder is for.

        folder: The folder.

    Returns:
        The finding.
    """
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return problem(check, f"{folder}: {error.strerror or error}", "Check the path and who may read it.")
    found = f"{usage.free / _GIB:.1f} GiB free at {folder}"
    if usage.free < LEAST_FREE_BYTES:
        return warning(check, found, "Free some: `triton-export prune NAME` removes old versions of a model.")
    return ok(check, found)


def examine_shared_memory(*, is_triton_here: bool, folder: Path = Path("/dev/shm")) -> Finding:  # noqa: S108
    """
    Look at the shared memory that Triton's Python models need.

    Args:
        is_triton_here: Whether Triton runs on this machine.

        folder: Where it is mounted.

    Returns:
        The finding.
    """
    if not is_triton_here:
        return skipped("shared memory", f"it matters on Triton's machine, not here ({folder})")
    try:
        usage = shutil.disk_usage(folder)
    except OSError as error:
        return warning(
            "shared memory", f"{folder}: {error.strerror or error}", f"Mount a tmpfs at {folder} for Triton."
        )
    found = f"{usage.free / _MIB:.0f} of {usage.total / _MIB:.0f} MiB free at {folder}"
    if usage.free < LEAST_SHM_BYTES:
        return warning(
            "shared memory",
            f"{found}, little for Triton's Python models",
            "Start Triton's container with --shm-size=1g; outside of containers enlarge the tmpfs.",
        )
    return ok("shared memory", found)


def examine_port(check: str, host: str, port: int | None, setting: str) -> Finding:
    """
    See whether a port is free, or a façade has it already.

    Args:
        check: What the port is for.

        host: The address to listen on.

        port: The port; None or 0 where none is fixed.

        setting: Its environment variable.

    Returns:
        The finding.
    """
    if not port:
        return skipped(check, f"{setting} fixes none")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
    except OSError as error:
        return _explain_port(check, host, port, setting, error)
    return ok(check, f"{host}:{port} is free")


def _explain_port(check: str, host: str, port: int, setting: str, error: OSError) -> Finding:
    where = f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        if is_facade(host, port):
            return ok(check, f"{where} is taken by a façade that runs")
        return problem(
            check,
            f"{where} is taken by another program",
            f"See which with `ss -ltnp 'sport = :{port}'`, or choose another port with {setting}.",
        )
    if error.errno == errno.EACCES:
        return problem(check, f"{where}: only root may listen there", f"Choose a {setting} above 1023.")
    return problem(
        check,
        f"{where}: {error.strerror or error}",
        f"Set {setting.replace('PORT', 'HOST')} to an address of this machine, such as 127.0.0.1.",
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""
