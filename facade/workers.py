"""
Several worker processes behind one port: started, watched, replaced, and stopped together.

Each worker opens the port itself with SO_REUSEPORT, so that the kernel spreads connections evenly; workers that share
one listening socket don't (one of three was seen idle). The parent answers no requests: it holds the port, restarts
what dies, and serves the metrics of all workers on a port of their own.

Rules that a later editor must keep:

1. A worker's index is stable: its successor writes the same metric files, so counters go on and files don't pile up.
2. Workers are in process groups of their own: a Ctrl-C reaches them through the parent alone, once.
3. A worker dies with its parent (PR_SET_PDEATHSIG), also when that is killed.
4. A worker that gives no sign of life is killed, and then replaced like any that died (`facade.heartbeats`).
5. What a dead worker held of its callers' quotas is free as soon as the parent knows of its death.
"""

from __future__ import annotations

import ctypes
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client import multiprocess

from facade.access.host_table import HostTable, HostTableInvalid, create_table
from facade.heartbeats import HEARTBEATS_VARIABLE, INTERVAL_S, Heartbeats, Watch, create_heartbeats
from facade.telemetry import INDEX_VARIABLE, MULTIPROC_VARIABLE, serve_metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

QUICK_DEATH_S = 5.0
"""A worker that dies within so many seconds of its start didn't work at all."""

QUICK_DEATHS_ALLOWED = 5
"""So many of them in a row, and the service gives up: something is wrong that a restart doesn't mend."""

RESTART_PAUSE_S = 0.5
"""Wait before a worker that died quickly is started again, times the number of quick deaths."""

PARENT_VARIABLE = "FACADE_PARENT_PID"
"""Environment variable: the process that started the workers."""

QUOTAS_VARIABLE = "FACADE_HOST_QUOTAS_FILE"
"""Environment variable: the table in which workers count quotas together."""

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass(slots=True)
class _Worker:
    index: int
    process: subprocess.Popen[bytes]
    started: float


@dataclass(slots=True)
class Workers:
    """Worker processes that run the same command."""

    command: Sequence[str]
    """What each worker runs, the same for all."""

    count: int
    """How many."""

    patience_s: float = 30.0
    """Seconds without a sign of life after which a worker is replaced."""

    metrics_folder: str = field(default_factory=lambda: tempfile.mkdtemp(prefix="triton-facade-metrics-"))
    """Where workers keep their counters, those of quotas included; removed at the end."""

    _running: dict[int, _Worker] = field(default_factory=dict)
    _quotas: HostTable | None = None
    _heartbeats: Heartbeats | None = None
    _is_over: threading.Event = field(default_factory=threading.Event)
    _is_stopping: bool = False
    _quick_deaths: int = 0

    def serve_metrics(self, host: str, port: int) -> None:
        """
        Serve the metrics of all workers over HTTP.

        Args:
            host: Address.

            port: Port.

        Raises:
            OSError: If the address can't be listened on.
        """
        serve_metrics(host, port, self.metrics_folder)

    def run(self) -> int:
        """
        Run until told to stop by SIGTERM or SIGINT.

        Returns:
            The exit code: 0 after a stop that was asked for, 1 if the workers can't run.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._forward)
        try:
            self._share_quotas()
            self._watch_heartbeats()
            for index in range(self.count):
                self._start(index)
            while self._running:
                self._replace_next()
        finally:
            self._is_over.set()
            for worker in self._running.values():
                worker.process.kill()
                worker.process.wait()
            if self._quotas is not None:
                self._quotas.close()
            shutil.rmtree(self.metrics_folder, ignore_errors=True)
        return 1 if self._quick_deaths >= QUICK_DEATHS_ALLOWED else 0

    def _share_quotas(self) -> None:
        """Make the table in which workers count together; without it each grants its share of every limit."""
        try:
            create_table(self._quotas_path, self.count)
            self._quotas = HostTable(self._quotas_path)
        except (OSError, HostTableInvalid) as error:
            log.warning("quotas: workers can't count together (%s)", error)

    def _watch_heartbeats(self) -> None:
        """Have a thread look for workers that hang; without the file nobody does."""
        path = self._heartbeats_path
        try:
            create_heartbeats(path, self.count)
            self._heartbeats = Heartbeats(path)
        except OSError as error:
            log.warning("workers: none that hangs is noticed (%s)", error)
            return
        threading.Thread(target=self._kill_those_that_hang, args=(self._heartbeats,), daemon=True).start()

    def _kill_those_that_hang(self, heartbeats: Heartbeats) -> None:
        watch = Watch(max(2, round(self.patience_s / INTERVAL_S)))
        while not self._is_over.wait(INTERVAL_S):
            for index in watch.look(heartbeats.read()):
                worker = self._running.get(index)
                if worker is None or self._is_stopping:
                    continue
                log.error("worker_hung", extra={"worker": index, "patience_s": self.patience_s})
                # Not by `Popen`, which would look whether it ended and take the news from those who wait for it.
                with suppress(ProcessLookupError):
                    os.kill(worker.process.pid, signal.SIGKILL)

    @property
    def _heartbeats_path(self) -> Path:
        return Path(self.metrics_folder) / "heartbeats"

    @property
    def _quotas_path(self) -> Path:
        return Path(self.metrics_folder) / "quotas.table"

    def _start(self, index: int) -> None:
        if self._is_stopping:
            return
        # Gauges such as "in flight" begin anew with the process; counters go on.
        multiprocess.mark_process_dead(index, self.metrics_folder)  # type: ignore[no-untyped-call]
        environment = {
            **os.environ,
            INDEX_VARIABLE: str(index),
            PARENT_VARIABLE: str(os.getpid()),
            MULTIPROC_VARIABLE: self.metrics_folder,
        }
        if self._quotas is not None:
            environment[QUOTAS_VARIABLE] = str(self._quotas_path)
        if self._heartbeats is not None:
            self._heartbeats.begin(index)
            environment[HEARTBEATS_VARIABLE] = str(self._heartbeats_path)
        process = subprocess.Popen(self.command, env=environment, process_group=0)  # noqa: S603  # our own command
        self._running[index] = _Worker(index, process, time.monotonic())
        if self._is_stopping:  # the signal came after the worker and before anybody knew of it
            process.terminate()

    def _replace_next(self) -> None:
        """Wait until one worker ends, and start its successor unless the service is stopping."""
        pid, status = os.wait()
        worker = next((w for w in self._running.values() if w.process.pid == pid), None)
        if worker is None:
            return
        worker.process.returncode = os.waitstatus_to_exitcode(status)
        del self._running[worker.index]
        if self._quotas is not None:
            self._quotas.begin_life(worker.index)
        if self._is_stopping:
            return
        lived_s = time.monotonic() - worker.started
        self._quick_deaths = self._quick_deaths + 1 if lived_s < QUICK_DEATH_S else 0
        log.error(
            "worker_died",
            extra={
                "worker": worker.index,
                "exit_code": worker.process.returncode,
                "lived_s": round(lived_s, 1),
            },
        )
        if self._quick_deaths >= QUICK_DEATHS_ALLOWED:
            log.error("workers_given_up", extra={"quick_deaths": self._quick_deaths})
            self._stop(signal.SIGTERM)
            return
        time.sleep(RESTART_PAUSE_S * self._quick_deaths)
        self._start(worker.index)

    def _forward(self, number: int, _frame: object) -> None:
        self._stop(number)

    def _stop(self, number: int) -> None:
        self._is_stopping = True
        for worker in list(self._running.values()):
            with suppress(ProcessLookupError):
                worker.process.send_signal(number)


def reserve_port(host: str, port: int) -> socket.socket:
    """
    Take a port for workers that are about to listen on it.

    Args:
        host: Address.

        port: Port, or 0 for any free one.

    Returns:
        A socket that is bound and doesn't listen; while it is open, nobody else gets the port by accident.

    Raises:
        OSError: If somebody has it, another façade with workers included.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    # A plain bind fails where any other socket has the port; only then is it shared among our own workers.
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        probe.listen(1)
        bound = probe.getsockname()
    reserved = socket.socket(family, kind, protocol)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(bound)
    return reserved


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent dies, however that happens."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # It may have died before the call, while this process was starting; then the kernel will say nothing.
    if str(os.getppid()) != os.environ.get(PARENT_VARIABLE, str(os.getppid())):
        sys.exit(1)
