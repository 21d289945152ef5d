"""The file that workers share: found by all under one name, locked by the living only, and never believed."""

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from facade.access.host_table import (
    LOCK_PAUSE_S,
    LOCK_TRIES,
    MAGIC,
    SLOTS_A_BUCKET,
    HostTable,
    HostTableInvalid,
    Spot,
    create_table,
)
from facade.access.memory_quotas import Account

ROOT = Path(__file__).parents[3]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A table of one bucket for two workers."""
    path = tmp_path / "quotas.table"
    create_table(path, 2, 1)
    return path


def test_two_mappings_find_one_slot(path: Path) -> None:
    """What one writes under a name the other reads under it, and other names have other slots."""
    one, other = HostTable(path), HostTable(path)
    here, there, elsewhere = Spot("alice", 1), Spot("alice", 1), Spot("alicia", 1)
    assert one.find(here, 100)
    one.write(here.offset, Account(100, 1, 2, 3, 4))
    assert other.find(elsewhere, 100)
    assert other.find(there, 100)

    assert other.read(there.offset) == (100, 1, 2, 3, 4)
    assert other.read(elsewhere.offset) == (100, 0, 0, 0, 0)
    one.close()
    other.close()


def test_a_full_bucket_gives_up_the_idle_only(path: Path) -> None:
    """A name with use that counts, or with places held, keeps its slot; any other loses it to a new one."""
    table = HostTable(path)
    life = table.begin_life(0)
    spots = [Spot(f"key{number}", 1) for number in range(SLOTS_A_BUCKET)]
    assert all(table.find(spot, 100) for spot in spots)
    assert not table.find(Spot("late", 1), 101)

    for spot in spots[1:]:
        table.add_place(spot.offset, 0, life, 1)
    late = Spot("late", 1)
    assert table.find(late, 102)
    assert late.offset == spots[0].offset
    assert not table.find(Spot("later", 1), 102)
    assert not table.find(spots[0], 102)
    table.close()


def test_places_end_with_their_workers_life(path: Path) -> None:
    """A new life of one worker frees what its old one held, and nobody else's."""
    table = HostTable(path)
    lives = [table.begin_life(worker) for worker in range(2)]
    spot = Spot("alice", 1)
    table.find(spot, 100)
    for worker in (0, 0, 1):
        table.add_place(spot.offset, worker, lives[worker], 1)
    assert table.places(spot.offset) == 3

    anew = table.begin_life(0)
    assert table.places(spot.offset) == 1
    table.add_place(spot.offset, 0, anew, 1)
    table.add_place(spot.offset, 0, anew, -1)
    table.add_place(spot.offset, 0, anew, -1)
    assert table.places(spot.offset) == 1
    table.close()


def test_a_frozen_owner_is_waited_for_within_bounds_and_a_dead_one_not_at_all(tmp_path: Path) -> None:
    """The lock of a process that is killed is free; that of one that only sleeps keeps others for a moment."""
    path = tmp_path / "quotas.table"
    create_table(path, 2)
    table = HostTable(path)
    spot = Spot("hammered", table.buckets)
    command = [sys.executable, "-m", "tests.facade.access.host_hammer", "lock", str(path), "1", "0", "0"]
    owner = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "1\n"
        began = time.monotonic()
        assert not table.lock(spot.bucket)
        assert LOCK_TRIES * LOCK_PAUSE_S <= time.monotonic() - began < 5
        assert table.lock(spot.bucket + 1)
        table.unlock(spot.bucket + 1)
    finally:
        owner.kill()
        owner.communicate()

    assert table.lock(spot.bucket)
    table.unlock(spot.bucket)
    table.close()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"short",
        os.urandom(4096),
        MAGIC + bytes(100),
        MAGIC + struct.pack("@QQ", 2, 1) + bytes(100),
        MAGIC + struct.pack("@QQ", 10**15, 1),
        MAGIC + struct.pack("@QQ", 2, 2**63) + bytes(100),
    ],
)
def test_a_file_that_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    """Garbage, a cut file, and one that lies about its size: the error names the file."""
    path = tmp_path / "quotas.table"
    path.write_bytes(content)

    with pytest.raises(HostTableInvalid, match=r"quotas\.table"):
        HostTable(path)


def test_a_missing_file_is_refused_and_an_existing_one_not_overwritten(path: Path) -> None:
    """Neither opening nor making guesses what was meant."""
    with pytest.raises(HostTableInvalid, match="No such file"):
        HostTable(path.with_name("absent"))
    with pytest.raises(FileExistsError):
        create_table(path, 2)
    assert path.stat().st_mode & 0o777 == 0o600
