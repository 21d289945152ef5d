"""Several workers behind one port: counted as one, replaced when they die, gone when told."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from facade.access.quotas import WINDOW_S
from facade.workers import Workers, reserve_port
from tests.freezing import freeze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "only-for-this-test"


def free_port() -> int:
    """Find a port that nobody has."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(condition: Callable[[], bool], what: str, timeout_s: float = 30) -> None:
    """Wait until *condition* holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"waited too long until {what}"
        time.sleep(0.02)


class Service:
    """Workers, started as an operator starts them."""

    def __init__(self, workers: int, folder: Path, **settings: str) -> None:
        self.metrics_url = f"http://127.0.0.1:{(metrics_port := free_port())}/metrics"
        kept = {name: value for name, value in os.environ.items() if not name.startswith("FACADE_")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "facade", "serve", "--port", "0", "--workers", str(workers)],
            stderr=subprocess.PIPE,
            text=True,
            env={
                **kept,
                **(settings or {"FACADE_API_KEY": KEY}),
                "TMPDIR": str(folder),  # what a killed parent leaves is the test's to remove
                "FACADE_TRITON_URL": "127.0.0.1:1",
                "FACADE_METRICS_PORT": str(metrics_port),
                "FACADE_DRAIN_S": "0",
                "FACADE_LOG_LEVEL": "error",
            },
        )
        assert self.process.stderr is not None
        self.url = self.process.stderr.readline().split()[-1]
        until(lambda: len(self.worker_pids()) == workers and self.is_up(), "all workers run")

    def worker_pids(self) -> list[int]:
        """The workers' process ids."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def is_up(self) -> bool:
        """Whether somebody listens."""
        try:
            return httpx.get(f"{self.url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    def count(self) -> float:
        """How many requests to an unknown path the workers together have counted."""
        text = httpx.get(self.metrics_url).text
        found = re.search(r'api_requests_total\{endpoint="unmatched",method="GET",status="404"\} (\S+)', text)
        return float(found[1]) if found else 0.0

    def infer(self, client: httpx.Client) -> int:
        """Send what counts as inference, to nowhere; return the status."""
        return client.post(f"{self.url}/nope", headers={"X-API-Key": KEY}).status_code

    def call(self, times: int) -> None:
        """Ask for an unknown path, each time over a new connection."""
        for _ in range(times):
            answer = httpx.get(f"{self.url}/nope", headers={"X-API-Key": KEY})
            assert answer.status_code == 404


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Iterator[Service]:
    """Two workers."""
    service = Service(2, tmp_path)
    yield service
    service.process.kill()
    service.process.communicate()


def test_metrics_are_those_of_all_workers(service: Service) -> None:
    """However connections spread, one scrape has the sum."""
    service.call(40)

    until(lambda: service.count() == 40, "all are counted")  # which follows the answer


def test_a_worker_that_dies_is_replaced_and_its_counts_stay(service: Service) -> None:
    """Counters go on with the successor."""
    service.call(20)
    until(lambda: service.count() == 20, "all are counted")  # which follows the answer
    victim = service.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    until(lambda: len(service.worker_pids()) == 2 and victim not in service.worker_pids(), "it is replaced")
    until(service.is_up, "it listens")
    service.call(20)

    until(lambda: service.count() == 40, "all are counted")


def test_a_worker_that_hangs_is_replaced(tmp_path: Path) -> None:
    """It lives and answers nobody, which the kernel finds nothing wrong with."""
    service = Service(2, tmp_path, FACADE_API_KEY=KEY, FACADE_WORKER_PATIENCE_S="2")
    try:
        service.call(40)  # so that both have begun, and given a sign of life
        victim = service.worker_pids()[0]
        freeze(victim)
        until(lambda: victim not in service.worker_pids(), "it is killed")
        until(lambda: len(service.worker_pids()) == 2, "another one runs")
        until(service.is_up, "it listens")
    finally:
        service.process.kill()
        service.process.communicate()


def test_workers_grant_a_quota_together(tmp_path: Path) -> None:
    """A key's ten requests a minute are ten, over one kept connection or many, also after a worker was killed."""
    keys_file = tmp_path / "keys.yaml"
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys_file.write_text(
        f"tiers: {{small: {{requests_per_minute: 10}}}}\n"
        f"keys: [{{name: one, sha256: '{digest}', tier: small}}, {{name: two, sha256: '{'0' * 64}', tier: small}}]"
    )
    # With the minute a new window begins, in which one request more is let through: then it is done once more.
    while True:
        minute = time.time() // WINDOW_S
        kept_seen, seen = _ask_around_a_kill(tmp_path, keys_file)
        if time.time() // WINDOW_S == minute:
            break

    assert kept_seen == [404] * 8
    assert sorted(seen) == [404] * 2 + [429] * 10


def _ask_around_a_kill(tmp_path: Path, keys_file: Path) -> tuple[list[int], list[int]]:
    """Ask 8 times over a connection, kill a worker, and ask 12 times over new ones; the statuses."""
    service = Service(3, tmp_path, FACADE_KEYS_FILE=str(keys_file))
    try:
        with httpx.Client() as kept:
            kept_seen = [service.infer(kept) for _ in range(8)]
        victim = service.worker_pids()[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(service.worker_pids()) == 3 and victim not in service.worker_pids(), "replaced")
        until(service.is_up, "it listens")
        seen = []
        for _ in range(12):
            with httpx.Client() as fresh:
                seen.append(service.infer(fresh))
    finally:
        service.process.kill()
        service.process.communicate()
    return kept_seen, seen


def test_told_to_stop_all_are_gone(service: Service) -> None:
    """Exit code 0, no worker left, no files left."""
    pids = service.worker_pids()
    environment = Path(f"/proc/{pids[0]}/environ").read_text().split("\0")
    (metrics_folder,) = (
        line.partition("=")[2] for line in environment if line.startswith("PROMETHEUS_MULTIPROC")
    )
    service.process.send_signal(signal.SIGTERM)

    assert service.process.wait(30) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    assert not Path(metrics_folder).exists()


def test_workers_die_with_a_parent_that_is_killed(service: Service) -> None:
    """Nobody is left holding the port."""
    pids = service.worker_pids()
    service.process.kill()
    service.process.wait()

    until(lambda: not any(_runs(pid) for pid in pids), "the workers are gone")


def test_a_worker_that_only_starts_dies_with_its_parent_too(service: Service) -> None:
    """A parent that is killed before its worker could ask to be told of that leaves no orphan either."""
    before = service.worker_pids()
    os.kill(before[0], signal.SIGKILL)
    until(lambda: len(set(service.worker_pids()) - set(before)) == 1, "a successor starts")
    pids = service.worker_pids()
    service.process.kill()
    service.process.wait()

    until(lambda: not any(_runs(pid) for pid in pids), "the workers are gone")


def test_a_port_of_somebody_else_is_refused() -> None:
    """SO_REUSEPORT is for our own workers, not for sharing a port by accident."""
    with (
        socket.create_server(("127.0.0.1", 0), reuse_port=True) as taken,
        pytest.raises(OSError, match="already in use"),
    ):
        reserve_port("127.0.0.1", taken.getsockname()[1])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(name="_own_signals")
def _keep_signals() -> Iterator[None]:
    """Give the test runner its signal handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_own_signals")
def test_told_to_stop_while_it_starts_nobody_is_left(tmp_path: Path) -> None:
    """A signal that comes when the first of many workers runs keeps the rest from starting."""
    script = 'echo >> "$0"; [ "$FACADE_WORKER_INDEX" = 0 ] && kill -TERM $PPID; exec sleep 60'
    started = tmp_path / "started"
    workers = Workers(["sh", "-c", script, str(started)], count=500)

    assert workers.run() == 0

    assert len(started.read_text()) < 500


@pytest.mark.usefixtures("_own_signals")
def test_told_to_stop_before_it_began_it_starts_nobody(tmp_path: Path) -> None:
    """A signal between two workers is not forgotten."""
    workers = Workers(["touch", str(tmp_path / "started")], count=2)
    workers._stop(signal.SIGTERM)

    assert workers.run() == 0

    assert not (tmp_path / "started").exists()
