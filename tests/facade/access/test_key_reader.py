"""Keys files read here, and large ones in a process of their own."""

import asyncio
import hashlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from facade.access import key_reader
from facade.access.key_reader import LARGE_BYTES, ReaderFailed, read_beside, read_first, read_keys, read_text
from facade.access.key_text import TEXT_LIMIT_BYTES
from facade.access.keys import KeysInvalid

pytestmark = pytest.mark.anyio


def keys_text(count: int) -> str:
    """A keys file with every field in use."""
    entries = "\n".join(
        f"  - name: key-{number}\n    sha256: '{hashlib.sha256(str(number).encode()).hexdigest()}'\n"
        f"    tier: standard\n    models: ['minilm*']\n    networks: ['10.0.0.0/8', '2001:db8::/32']\n"
        f"    expires: 2099-01-31\n    scopes: [infer, metrics]\n    cache: private"
        for number in range(count)
    )
    return f"tiers:\n  standard: {{requests_per_minute: 600, priority: 2}}\nkeys:\n{entries}\n"


@pytest.fixture(name="large_file")
def _large_file(tmp_path: Path) -> Path:
    """A file that is read apart, a few parts long."""
    path = tmp_path / "keys.yaml"
    path.write_text(keys_text(500))
    return path


async def test_a_large_file_read_apart_means_the_same(large_file: Path) -> None:
    """What another process read is what this one would have read."""
    assert large_file.stat().st_size > LARGE_BYTES

    expected = read_keys(large_file)
    for ring in (await read_beside(large_file), read_first(large_file)):
        assert ring.keys == expected.keys
        assert ring.tiers == expected.tiers
        assert ring.find("499") == expected.keys["key-499"]
        assert ring.find("500") is None


async def test_a_mistake_in_a_large_file_is_named(large_file: Path) -> None:
    """The complaint of the other process names key and field."""
    large_file.write_text(large_file.read_text().replace("tier: standard", "tier: missing", 1))

    complaint = "key 'key-0', field 'tier': there is no tier 'missing'"
    with pytest.raises(KeysInvalid, match=complaint):
        await read_beside(large_file)
    with pytest.raises(KeysInvalid, match=complaint):
        read_first(large_file)


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """A file that isn't there is a complaint like any other."""
    with pytest.raises(KeysInvalid, match="can't read"):
        await read_beside(tmp_path / "none.yaml")


async def test_a_large_file_costs_the_serving_process_little(tmp_path: Path) -> None:
    """Reading apart takes less than a third of the processor time that reading here does, threads included."""
    path = tmp_path / "keys.yaml"
    path.write_text(keys_text(3000))

    began_s = time.process_time()
    ring = await read_beside(path)
    apart_s = time.process_time() - began_s
    read_keys(path)
    here_s = time.process_time() - began_s - apart_s

    assert len(ring) == 3000
    assert apart_s < here_s / 3


async def test_a_reader_that_takes_too_long_is_ended(
    large_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keys in use stay, and no process is left."""
    monkeypatch.setattr(key_reader, "READER_LIMIT_S", 0.01)

    with pytest.raises(ReaderFailed, match=r"took longer than 0\.01 s"):
        await read_beside(large_file)
    with pytest.raises(ReaderFailed, match=r"took longer than 0\.01 s"):
        read_first(large_file)

    assert not find_readers()


async def test_a_reader_that_dies_is_a_complaint(large_file: Path) -> None:
    """A reader that the system kills doesn't pass for an empty file."""
    reading = asyncio.create_task(read_beside(large_file))
    while not (readers := find_readers()):
        await asyncio.sleep(0.001)  # nobody tells when it is there
    os.kill(readers[0], signal.SIGKILL)

    with pytest.raises(ReaderFailed, match="ended before it was done"):
        await reading


@pytest.mark.parametrize("said", ["", "x", "12345678", "12345678x"])
async def test_a_reader_that_says_too_little_is_a_complaint(
    large_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    """Whatever came before it ended, half a file doesn't pass for a whole one."""
    program = tmp_path / "reader"
    program.write_text(f"#!/bin/sh\nprintf '{said}'\n")
    program.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(program))

    with pytest.raises(ReaderFailed, match="ended before it was done"):
        await read_beside(large_file)
    with pytest.raises(ReaderFailed, match="ended before it was done"):
        read_first(large_file)


async def test_a_reading_that_is_given_up_leaves_no_process(large_file: Path) -> None:
    """A façade that stops meanwhile takes its reader along."""
    reading = asyncio.create_task(read_beside(large_file))
    while not find_readers():
        await asyncio.sleep(0.001)  # nobody tells when it is there
    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading

    assert not find_readers()


def test_an_endless_file_is_read_to_its_bound(tmp_path: Path) -> None:
    """A sparse file of more than the bound is refused without filling memory."""
    path = tmp_path / "keys.yaml"
    with path.open("wb") as file:
        file.truncate(TEXT_LIMIT_BYTES * 4)
    with pytest.raises(KeysInvalid, match="larger than"):
        read_text(path)


def find_readers() -> list[int]:
    """Look for processes that we started to read keys: their ids."""
    return [pid for pid in child_pids() if is_reader(pid)]


def child_pids() -> list[int]:
    """Processes that any of our threads started."""
    found = Path("/proc/self/task").glob("*/children")
    return [int(pid) for children in found for pid in children.read_text().split()]


def is_reader(pid: int) -> bool:
    """Whether a process is one of ours that reads keys."""
    try:
        return b"facade.access.key_reader" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
