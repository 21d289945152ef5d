"""
One point of a curve: some callers in a closed loop for a while, and what every program used for it.

Strategy: all is idle before and after the measured time, so that no answer's work lies partly outside of it, however
long one request takes. CPU time and memory come from /proc, of the servers alone; this program is the load.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.load import machine
from tests.load.client import AnswerUnreadable, Connection
from tests.load.measure import BenchFailed
from tests.load.rounds import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.load.client import Answer

    Figures = dict[str, float]

NEIGHBOUR_EVERY_S = 0.02
"""Seconds between two requests of a neighbour."""

SERVICE_FULL = 503


@dataclass(frozen=True)
class Drive:
    """What is sent, and whose cost is read."""

    address: str
    """``host:port``."""

    requests: Iterator[bytes]
    """Whole requests; the callers share them."""

    callers: int
    """Connections, each with one request at a time."""

    texts_a_request: int
    """Texts in each of them, for the figures a text."""

    least_bytes: int
    """A shorter body isn't a right answer."""

    programs: Mapping[str, int]
    """Process ids by name, each with its descendants."""

    warmup_s: float
    """Seconds before the measured ones."""

    measure_s: float
    """Seconds within which requests begin; all that began are waited for."""

    neighbours: Mapping[str, Iterator[bytes]] = field(default_factory=dict)
    """Further callers by name, who ask for one thing every `NEIGHBOUR_EVERY_S` and report how long they waited."""


@dataclass
class _Tally:
    latencies_ms: list[float] = field(default_factory=list)
    refused: int = 0


async def drive(load: Drive) -> Figures:
    """
    Measure one point once.

    Args:
        load: What is sent, and whose cost is read.

    Returns:
        Figures by name, with units in the names; CPU time and memory by program as ``facade_cpu_us_a_text``.

    Raises:
        BenchFailed: If an answer was wrong.
    """
    async with contextlib.AsyncExitStack() as opened:

        async def connect() -> Connection:
            host, port = load.address.rsplit(":", 1)
            connection = await Connection.open(host, int(port))
            opened.callback(connection.close)
            return connection

        connections = [await connect() for _ in range(load.callers)]
        beside = [(name, requests, await connect()) for name, requests in load.neighbours.items()]
        await _call_all(load, connections, load.warmup_s)
        trees = {name: machine.tree_of(pid) for name, pid in load.programs.items()}
        for pids in trees.values():
            reset_peaks(pids)
        before, busy_before_s, own_before_s = _read_cpu(trees), machine.busy_cpu_s(), time.process_time()
        started = time.perf_counter()
        waits: dict[str, list[float]] = {name: [] for name in load.neighbours}
        probes = [asyncio.create_task(_ask_steadily(load, *one, waits[one[0]])) for one in beside]
        tally = await _call_all(load, connections, load.measure_s)
        for probe in probes:
            probe.cancel()
        await asyncio.gather(*probes, return_exceptions=True)
        wall_s = time.perf_counter() - started
        used = {name: cpu_s - before[name] for name, cpu_s in _read_cpu(trees).items()}
        own_s = time.process_time() - own_before_s
        busy_s = machine.busy_cpu_s() - busy_before_s
    figures = _to_figures(load, tally, wall_s, used)
    others_s = max(0.0, busy_s - sum(used.values()) - own_s)
    figures["others_share"] = others_s / wall_s / machine.cores()
    figures["generator_cpu_us_a_text"] = own_s / (len(tally.latencies_ms) * load.texts_a_request) * 1e6
    for name, pids in trees.items():
        figures |= {f"{name}_{key}": value for key, value in read_memory(pids).items()}
    for name, waited_ms in waits.items():
        figures |= _describe_waits(name, waited_ms)
    return figures


def _to_figures(load: Drive, tally: _Tally, wall_s: float, used: dict[str, float]) -> Figures:
    if not tally.latencies_ms:
        raise BenchFailed(f"not one of {tally.refused} requests was answered")
    ascending = sorted(tally.latencies_ms)
    texts = len(ascending) * load.texts_a_request
    return {
        "requests": len(ascending),
        "requests_per_s": len(ascending) / wall_s,
        "texts_per_s": texts / wall_s,
        "wall_us_a_text": wall_s / texts * 1e6,
        "p50_ms": percentile(ascending, 0.50),
        "p99_ms": percentile(ascending, 0.99),
        "refused_a_request": tally.refused / len(ascending),
        **{f"{name}_cpu_us_a_text": cpu_s / texts * 1e6 for name, cpu_s in used.items()},
        **{f"{name}_cpu_us_a_request": cpu_s / len(ascending) * 1e6 for name, cpu_s in used.items()},
    }


def _describe_waits(name: str, waited_ms: list[float]) -> Figures:
    ascending = sorted(waited_ms)
    if not ascending:
        return {}
    return {f"{name}_p50_ms": percentile(ascending, 0.5), f"{name}_longest_ms": ascending[-1]}


async def _call_all(load: Drive, connections: list[Connection], seconds: float) -> _Tally:
    """Let every caller begin requests for so long, and wait for all that began."""
    tally = _Tally()
    until = time.perf_counter() + seconds

    async def call(connection: Connection) -> None:
        while True:
            began = time.perf_counter()
            answer = await _exchange(connection, next(load.requests))
            if answer.status == SERVICE_FULL:
                tally.refused += 1
                retry_s = read_retry_s(connection.head)
                # Who would come back too late stops here, or the end of the measured time would be spent waiting.
                await asyncio.sleep(min(retry_s, max(0.0, until - time.perf_counter())))
            else:
                _check(answer, load.least_bytes)
                tally.latencies_ms.append((time.perf_counter() - began) * 1000)
            if time.perf_counter() >= until:
                return

    try:
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(call(connection))
    except* BenchFailed as failed:
        reason = failed.exceptions[0]
    else:
        return tally
    raise reason


async def _ask_steadily(
    load: Drive, name: str, requests: Iterator[bytes], connection: Connection, waits_ms: list[float]
) -> None:
    """Ask when it is due, and note how long after that the answer came, whoever was late."""
    del load
    due = time.perf_counter()
    while True:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        answer = await _exchange(connection, next(requests))
        if answer.status == SERVICE_FULL:
            raise BenchFailed(f"{name} was refused: {answer.body[:200]!r}")
        waits_ms.append((time.perf_counter() - due) * 1000)
        due = max(due + NEIGHBOUR_EVERY_S, time.perf_counter() - NEIGHBOUR_EVERY_S)


async def _exchange(connection: Connection, request: bytes) -> Answer:
    try:
        return await connection.exchange(request)
    except AnswerUnreadable as error:
        raise BenchFailed(f"no answer: {error}") from error


def _check(answer: Answer, least_bytes: int) -> None:
    if answer.status != 200 or len(answer.body) < least_bytes:
        raise BenchFailed(f"a wrong answer, {answer.status}: {answer.body[:300]!r}")


def read_retry_s(head: bytes) -> float:
    """
    Read how long a refused caller is asked to wait.

    Args:
        head: Of the refusal.

    Returns:
        Seconds.

    Raises:
        BenchFailed: If it doesn't say.
    """
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"retry-after-ms":
            return int(value) / 1000
    raise BenchFailed(f"a refusal without retry-after-ms: {head[:300]!r}")


def _read_cpu(trees: dict[str, set[int]]) -> dict[str, float]:
    return {name: machine.cpu_s(pids) for name, pids in trees.items()}


def reset_peaks(pids: set[int]) -> None:
    """
    Let the kernel forget the largest memory that processes had, so that the next reading is of what comes now.

    Args:
        pids: Process ids.

    Source:
        proc_pid_clear_refs(5): 5 resets the peak resident set size.
    """
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def read_memory(pids: set[int]) -> Figures:
    """
    Add up the memory of processes.

    Args:
        pids: Process ids.

    Returns:
        ``pss_mib``, ``rss_mib``, and ``peak_mib``, the sum of the largest resident sizes since `reset_peaks`.
    """
    total: dict[str, Any] = {"pss_mib": 0.0, "rss_mib": 0.0, "peak_mib": 0.0}
    for pid in pids:
        with contextlib.suppress(OSError):
            memory = machine.memory_of(pid)
            total["pss_mib"] += memory.pss_mib
            total["rss_mib"] += memory.rss_mib
            total["peak_mib"] += _peak_mib(pid)
    return total


def _peak_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0
