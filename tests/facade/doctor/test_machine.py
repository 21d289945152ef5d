"""What the machine gives, with control groups and ports of the test's own."""

from __future__ import annotations

import os
import resource
import socket
from typing import TYPE_CHECKING

import pytest

from facade.doctor import machine
from tests.facade.redis_server import free_port

if TYPE_CHECKING:
    from pathlib import Path


def test_packages_are_there() -> None:
    """Python and C library are named."""
    python, packages = machine.examine_packages()

    assert python.found.startswith("Python 3.")
    assert packages.status == "ok"


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "50000 100000"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1.5),
        ({"cpu.max": "max 100000"}, None),
        ({}, None),
    ],
)
def test_a_quota_counts_and_not_the_machines_cores(
    tmp_path: Path, files: dict[str, str], cores: float | None
) -> None:
    """Both versions of control groups; without a quota the affinity counts."""
    _write(tmp_path, files)
    affinity = len(os.sched_getaffinity(0))

    assert machine.usable_cores(tmp_path) == (affinity if cores is None else min(cores, affinity))


def test_more_workers_than_cores_are_a_warning(tmp_path: Path) -> None:
    """The remedy names the number."""
    _write(tmp_path, {"cpu.max": "100000 100000"})
    found = machine.examine_cores(4, group=tmp_path)

    assert (found.status, found.remedy) == ("warning", "Set FACADE_WORKERS to 1, or give it more cores.")
    assert machine.examine_cores(1, group=tmp_path).status == "ok"


@pytest.mark.parametrize(
    ("limit", "status"), [("268435456", "problem"), ("1073741824", "warning"), ("max", "ok")]
)
def test_memory_is_compared_with_what_fills_it(tmp_path: Path, limit: str, status: str) -> None:
    """Four workers with 64 MiB of cache each take up to 768 MiB."""
    _write(tmp_path, {"memory.max": limit})

    assert machine.examine_memory(4, 64 * 1024**2, group=tmp_path).status == status


def test_few_open_files_are_a_warning() -> None:
    """The limit is this process's own."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, before[1]))
    try:
        found = machine.examine_open_files()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

    assert found.status == "warning"
    assert "ulimit -n" in found.remedy


def test_little_disk_and_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Free space in words, and a path that isn't there."""
    assert machine.examine_disk("disk", tmp_path).status in {"ok", "warning"}
    assert machine.examine_disk("disk", tmp_path / "absent").status == "problem"
    monkeypatch.setattr(machine, "LEAST_FREE_BYTES", 2**62)
    assert "prune" in machine.examine_disk("disk", tmp_path).remedy


def test_shared_memory_matters_where_triton_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elsewhere it isn't looked at."""
    assert machine.examine_shared_memory(is_triton_here=False).status == "skipped"
    assert machine.examine_shared_memory(is_triton_here=True, folder=tmp_path / "absent").status == "warning"
    monkeypatch.setattr(machine, "LEAST_SHM_BYTES", 2**62)
    assert "--shm-size" in machine.examine_shared_memory(is_triton_here=True, folder=tmp_path).remedy


def test_a_free_port_and_a_taken_one() -> None:
    """A port that something silent holds is a problem, and the remedy says how to find out what."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        taken = machine.examine_port("port", "127.0.0.1", port, "FACADE_PORT")

    assert (taken.status, f"sport = :{port}" in taken.remedy) == ("problem", True)
    assert machine.examine_port("port", "127.0.0.1", free_port(), "FACADE_PORT").status == "ok"
    assert machine.examine_port("port", "127.0.0.1", 0, "FACADE_PORT").status == "skipped"


def test_an_address_of_another_machine_is_a_problem() -> None:
    """192.0.2.1 is nobody's (RFC 5737)."""
    found = machine.examine_port("port", "192.0.2.1", free_port(), "FACADE_PORT")

    assert (found.status, "FACADE_HOST" in found.remedy) == ("problem", True)


def _write(group: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (group / name).parent.mkdir(parents=True, exist_ok=True)
        (group / name).write_text(f"{text}\n")
