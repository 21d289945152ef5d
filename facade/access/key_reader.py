"""
Read the keys file; a large one in a process of its own, so that whoever serves requests meanwhile isn't held up.

A thread is no help there: it takes turns with the loop for the interpreter, and the garbage collector stops both while
it looks through a million new objects. Measured on two busy cores with 100,000 keys (24 MB), longest standstill of
the event loop: a thread 5.5 s, a process 8 ms.

The reader writes what it read to its standard output, a part at a time, and the serving process takes one part in at
a turn of its loop. Each part is pickled behind its length; the first is the tiers, or text that says what is wrong; the
last is an empty list. What is pickled comes from our own code only: the file's text is read by `key_text`.
"""

import asyncio
import gc
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import BinaryIO, cast

from facade.access.key_text import TEXT_LIMIT_BYTES, parse_keys
from facade.access.keys import Key, KeyRing, KeysInvalid, Tier

LARGE_BYTES = 64 * 1024
"""Size from which a file is read apart; 64 KiB, some 270 keys, hold the loop up for 10 ms."""

READER_LIMIT_S = 600.0
"""Seconds that a reading may take; a file at its bound takes a minute of an idle core."""

KEYS_A_PART = 200
"""Keys in one part: about a millisecond of the serving process's time."""

_LENGTH = struct.Struct("<Q")


class ReaderFailed(KeysInvalid):
    """The reading process came to no end of its own; another try may."""


_CUT_SHORT = (EOFError, pickle.UnpicklingError, struct.error)
"""How it shows that a part is missing or not whole."""

Row = tuple[object, ...]
"""A key's fields in their order: what dataclasses do to pickle a key takes ten times as long."""


def read_keys(path: Path) -> KeyRing:
    """
    Read and parse a keys file, here and now.

    Args:
        path: The file.

    Returns:
        Its ring.

    Raises:
        KeysInvalid: If it can't be read, is too large or is wrong.
    """
    with _without_collector():
        return parse_keys(read_text(path))


def read_text(path: Path) -> str:
    """
    Read a keys file's text, not more than its bound.

    Args:
        path: The file.

    Returns:
        The text.

    Raises:
        KeysInvalid: If it can't be read, isn't UTF-8, or is too large.
    """
    try:
        with path.open("rb") as file:
            content = file.read(TEXT_LIMIT_BYTES + 1)
    except OSError as error:
        raise KeysInvalid(f"can't read {path}: {os.strerror(error.errno or 0)}") from None
    if len(content) > TEXT_LIMIT_BYTES:
        raise KeysInvalid(f"{path} is larger than {TEXT_LIMIT_BYTES} bytes")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise KeysInvalid(f"{path} is not UTF-8 at byte {error.start}") from None


def read_first(path: Path) -> KeyRing:
    """
    Read and parse a keys file before anybody is served.

    Args:
        path: The file.

    Returns:
        Its ring.

    Raises:
        KeysInvalid: If it can't be read, is too large or is wrong.

        ReaderFailed: If that couldn't be found out.
    """
    if not _is_large(path):
        return read_keys(path)
    # Apart here too: what parsing takes, 8 KB a key, this process would keep for ever.
    try:
        done = subprocess.run(  # noqa: S603  # our own command
            _command(path), stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL, timeout=READER_LIMIT_S, check=False
        )
        with _lasting():
            return _take_all(done.stdout)
    except subprocess.TimeoutExpired:
        raise _too_slow(path) from None
    except _CUT_SHORT:
        raise _broken_off(path) from None


async def read_beside(path: Path) -> KeyRing:
    """
    Read and parse a keys file while requests are served.

    Args:
        path: The file.

    Returns:
        Its ring.

    Raises:
        KeysInvalid: If it can't be read, is too large or is wrong.

        ReaderFailed: If that couldn't be found out.
    """
    return await (_read_apart(path) if _is_large(path) else asyncio.to_thread(read_keys, path))


def _is_large(path: Path) -> bool:
    try:
        return path.stat().st_size >= LARGE_BYTES
    except OSError:
        return False  # the reading says what is wrong


async def _read_apart(path: Path) -> KeyRing:
    """Have another process read the file, and take its ring in."""
    reader = await asyncio.create_subprocess_exec(*_command(path), stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    assert reader.stdout is not None  # noqa: S101  # it was asked for
    try:
        async with asyncio.timeout(READER_LIMIT_S):
            with _lasting():
                return await _take_parts(reader.stdout)
    except TimeoutError:
        raise _too_slow(path) from None
    except _CUT_SHORT:
        raise _broken_off(path) from None
    finally:
        with suppress(ProcessLookupError):
            reader.kill()
        await reader.wait()


def _command(path: Path) -> list[str]:
    return [sys.executable, "-m", "facade.access.key_reader", str(path)]


def _too_slow(path: Path) -> ReaderFailed:
    return ReaderFailed(f"{path}: the reader took longer than {READER_LIMIT_S:g} s")


def _broken_off(path: Path) -> ReaderFailed:
    return ReaderFailed(f"{path}: the reader ended before it was done")


@contextmanager
def _without_collector() -> Iterator[None]:
    """Keep the garbage collector from looking for garbage while nothing but keys is made; that halves the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _write_parts(ring: KeyRing, output: BinaryIO) -> None:
    _write(output, dict(ring.tiers))
    rows = list(map(_to_row, ring.keys.values()))
    for start in range(0, len(rows), KEYS_A_PART):
        _write(output, rows[start : start + KEYS_A_PART])
    _write(output, [])


@contextmanager
def _lasting() -> Iterator[None]:
    """Make what is made stay: let the collector look for garbage elsewhere, or each of its rounds is a standstill."""
    with _without_collector():
        yield
        gc.freeze()


class _Assembly:
    """A ring that is being put together from parts."""

    def __init__(self) -> None:
        self._tiers: Mapping[str, Tier] | None = None
        self._keys: dict[str, Key] = {}
        self._by_digest: dict[bytes, Key] = {}

    def take(self, content: bytes) -> KeyRing | None:
        """Take the next part in; after the last one, give the ring."""
        part = pickle.loads(content)  # noqa: S301  # our own process wrote it
        if isinstance(part, str):
            raise KeysInvalid(part)
        if self._tiers is None:
            self._tiers = part
            return None
        for row in cast("list[Row]", part):
            key = Key(*row)  # type: ignore[arg-type]
            self._keys[key.name] = self._by_digest[key.digest] = key
        return None if part else KeyRing.from_checked(self._keys, self._by_digest, self._tiers)


async def _take_parts(stream: asyncio.StreamReader) -> KeyRing:
    assembly, ring = _Assembly(), None
    while ring is None:
        (length,) = _LENGTH.unpack(await stream.readexactly(_LENGTH.size))
        ring = assembly.take(await stream.readexactly(length))
        await asyncio.sleep(0)
    return ring


def _take_all(output: bytes) -> KeyRing:
    assembly, ring, at = _Assembly(), None, 0
    while ring is None:
        (length,) = _LENGTH.unpack_from(output, at)
        at += _LENGTH.size + length
        ring = assembly.take(output[at - length : at])
    return ring


def _write(output: BinaryIO, part: object) -> None:
    content = pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
    output.write(_LENGTH.pack(len(content)) + content)


def _to_row(key: Key) -> Row:
    return (
        key.name,
        key.digest,
        key.tier,
        key.models,
        key.networks,
        key.expires_at,
        key.scopes,
        key.cache,
    )


def main() -> None:
    """Read the file that the command line names, and write its ring or what is wrong with it."""
    output = sys.stdout.buffer
    try:
        _write_parts(read_keys(Path(sys.argv[1])), output)
    except KeysInvalid as error:
        _write(output, str(error))
    output.flush()


if __name__ == "__main__":
    main()
