"""
One request again and again, as fast as it is answered: for servers that answer faster than texts can be made.

Strategy: Debian's ``wrk`` where it is installed, as it costs least; otherwise our own client, in two processes. That
costs about as much as the barest server, so there the ratio to it comes out too good; the figures say what was used.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from tests.load import machine
from tests.load.client import AnswerUnreadable, Connection, make_request
from tests.load.measure import BenchFailed
from tests.load.rounds import percentile

if TYPE_CHECKING:
    from pathlib import Path

    from tests.load.rounds import Figures

OWN_PROCESSES = 2
"""Processes of our own client."""

_UNITS_MS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass(frozen=True)
class SameRequest:
    """What is sent, where, and by how many."""

    address: str
    """``host:port``."""

    path: str
    """The route."""

    headers: dict[str, str]
    """Beside Content-Type and Content-Length."""

    body: str
    """JSON, in ASCII."""

    concurrency: int
    """Connections."""


@dataclass(frozen=True)
class Answered:
    """What came back."""

    count: int
    """Answers with status 200."""

    seconds: float
    """How long it took."""

    p50_ms: float
    """Median latency."""

    p99_ms: float
    """99th percentile."""


def find_tool() -> str:
    """Say what will send the requests: ``wrk`` or ``own client``."""
    return "wrk" if shutil.which("wrk") else "own client"


def measure_same(
    request: SameRequest, pid: int, folder: Path, *, warmup_s: float, measure_s: float
) -> Figures:
    """
    Put a server under this load once.

    Args:
        request: What.

        pid: The server's process.

        folder: For temporary files.

        warmup_s: Seconds before those measured.

        measure_s: Seconds measured.

    Returns:
        Figures as `measure.measure` gives them.

    Raises:
        BenchFailed: If an answer wasn't 200.
    """
    send = _send_with_wrk if find_tool() == "wrk" else _send_with_own
    send(request, max(1.0, warmup_s), folder)
    tree = machine.tree_of(pid)
    own_before_s = _children_cpu_s()
    cpu_before_s, busy_before_s = machine.cpu_s(tree), machine.busy_cpu_s()
    answered = send(request, measure_s, folder)
    cpu_s, busy_s = machine.cpu_s(tree) - cpu_before_s, machine.busy_cpu_s() - busy_before_s
    own_s = _children_cpu_s() - own_before_s
    return {
        "texts_per_s": answered.count / answered.seconds,
        "p50_ms": answered.p50_ms,
        "p99_ms": answered.p99_ms,
        "answered": answered.count,
        "cpu_us_a_text": {
            "facade": cpu_s / answered.count * 1e6,
            "generator": own_s / answered.count * 1e6,
        },
        "others_share": max(0.0, busy_s - cpu_s - own_s) / answered.seconds / machine.cores(),
    }


def _children_cpu_s() -> float:
    import resource  # noqa: PLC0415

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_wrk_script(request: SameRequest) -> str:
    """
    Write the request as wrk's Lua.

    Args:
        request: What is sent; nothing in it has ``]==]``.

    Returns:
        The script.
    """
    lines = ['wrk.method = "POST"', f"wrk.body = [==[{request.body}]==]"]
    headers = {"content-type": "application/json", **request.headers}
    return "\n".join(lines + [f"wrk.headers[ [==[{name}]==] ] = [==[{headers[name]}]==]" for name in headers])


def read_wrk_report(report: str) -> Answered:
    """
    Read what wrk printed with ``--latency``.

    Args:
        report: Its output.

    Returns:
        The figures.

    Raises:
        BenchFailed: If it can't be read, or an answer wasn't 200.
    """
    total = re.search(r"(\d+) requests in ([\d.]+)(us|ms|s)", report)
    p50 = re.search(r"50%\s+([\d.]+)(us|ms|s)", report)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", report)
    if "Non-2xx" in report or "Socket errors" in report or not (total and p50 and p99):
        raise BenchFailed(f"wrk: {report}")
    return Answered(
        count=int(total[1]),
        seconds=float(total[2]) * _UNITS_MS[total[3]] / 1000,
        p50_ms=float(p50[1]) * _UNITS_MS[p50[2]],
        p99_ms=float(p99[1]) * _UNITS_MS[p99[2]],
    )


def _send_with_wrk(request: SameRequest, seconds: float, folder: Path) -> Answered:
    script = folder / "same_request.lua"
    script.write_text(write_wrk_script(request), encoding="ascii")
    url = f"http://{request.address}{request.path}"
    command = [
        "wrk",
        "-t1",
        f"-c{request.concurrency}",
        f"-d{round(seconds)}s",
        "--latency",
        "-s",
        str(script),
    ]
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False, timeout=seconds + 30)
    return read_wrk_report(done.stdout + done.stderr)


def _send_with_own(request: SameRequest, seconds: float, _folder: Path) -> Answered:
    spec = json.dumps({**asdict(request), "seconds": seconds})
    command = [sys.executable, "-m", "tests.load.same_request"]
    senders = [
        subprocess.Popen(
            command, cwd=machine.CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(OWN_PROCESSES)
    ]
    try:
        for sender in senders:
            assert sender.stdin is not None
            sender.stdin.write(spec)
            sender.stdin.close()
            sender.stdin = None
        latencies_ms: list[float] = []
        for sender in senders:
            told, _ = sender.communicate(timeout=seconds + 30)
            if sender.returncode:
                raise BenchFailed("our own client failed; what it said is above")
            latencies_ms += json.loads(told)
    finally:
        for sender in senders:
            sender.kill()
            sender.wait()
    latencies_ms.sort()
    return Answered(len(latencies_ms), seconds, percentile(latencies_ms, 0.5), percentile(latencies_ms, 0.99))


async def send_for(request: SameRequest, seconds: float) -> list[float]:
    """
    Send with our own client.

    Args:
        request: What; each process opens its part of the connections.

        seconds: How long.

    Returns:
        Latencies in milliseconds.

    Raises:
        AnswerUnreadable: If an answer wasn't 200.
    """
    host, port = request.address.rsplit(":", 1)
    raw = make_request(request.address, request.path, request.headers, request.body.encode("ascii"))
    latencies_ms: list[float] = []

    async def call_repeatedly(connection: Connection, end: float) -> None:
        while (started := time.perf_counter()) < end:
            answer = await connection.exchange(raw)
            if answer.status != 200:
                raise AnswerUnreadable(f"{answer.status}: {answer.body[:300]!r}")
            latencies_ms.append((time.perf_counter() - started) * 1000)

    part = max(1, request.concurrency // OWN_PROCESSES)
    connections = [await Connection.open(host, int(port)) for _ in range(part)]
    end = time.perf_counter() + seconds
    try:
        await asyncio.gather(*(call_repeatedly(connection, end) for connection in connections))
    finally:
        for connection in connections:
            connection.close()
    return latencies_ms


def main() -> None:
    """Be one process of our own client."""
    import uvloop  # noqa: PLC0415

    spec = json.load(sys.stdin)
    seconds = spec.pop("seconds")
    sys.stdout.write(json.dumps(uvloop.run(send_for(SameRequest(**spec), seconds))))


if __name__ == "__main__":
    main()
