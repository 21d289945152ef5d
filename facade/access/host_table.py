"""
A table in a file that the processes of one host map into memory: what each key used, and who holds its places.

::

    header   magic, workers, buckets
    lives    for each worker, how many it has had
    wishes   for each bucket, whether somebody waits for its lock
    slots    SLOTS_A_BUCKET to a bucket: name, window number, four counters, then for each worker its places

Rules that a later editor must keep:

1. Slots of a bucket change only under the bucket's lock, a record lock of the kernel: it ends with the process that
   has it, however that ends. It excludes processes, not the two users of one process, which take turns anyway.
2. A worker's places are written by that worker alone, in one aligned word, so giving one back takes no lock. The
   word begins with the worker's life: places of an earlier life count as none, so that a dead worker's places are
   freed in one write, whatever it was doing when it died.
3. Nothing that is read is believed: a slot may hold garbage, which at worst is forgotten.
"""

import fcntl
import mmap
import os
import struct
import time
import zlib
from pathlib import Path

from facade.access.memory_quotas import Account

MAGIC = b"tfquota1"
"""What the file begins with; another layout gets another one."""

SLOTS_A_BUCKET = 16
"""Slots that share a lock, and among which a name's place is."""

BUCKETS = 4096
"""65,536 slots: 9 MB with four workers. A bucket overflows when some 40,000 keys are busy within two minutes."""

WORKERS_LIMIT = 1024
"""A header that claims more is garbage."""

NAME_BYTES = 64
"""Longest name, by `key_text.NAME_PATTERN`."""

LOCK_TRIES = 2000
"""
Tries to lock a bucket, with pauses that add up to 0.1 s and more, until it is given up. Whoever has the lock needs
microseconds, unless somebody froze it. Tries are counted and not time, since on a machine that is short of processors
the one that waits may have no chance to look before any deadline is over, and the one that is waited for none to run.
"""

LOCK_PAUSE_S = 5e-5
"""Seconds between two tries."""

COURTESY_S = 2e-4
"""Seconds for which a worker leaves a bucket to those who wait for it: without, it would take it again at once."""

COUNT_LIMIT = 2**53
"""Nobody uses more in a minute: a larger counter is garbage."""

EMPTY = bytes(NAME_BYTES)

_HEADER = struct.Struct("@8sQQ")
_COUNTS = struct.Struct("@5Q")
_WORD_BYTES = 8
_COUNT_MASK = 2**32 - 1
_TRY = fcntl.LOCK_EX | fcntl.LOCK_NB

Counts = tuple[int, int, int, int, int]
"""Window number; requests in it, and in the one before; tokens in it, and in the one before."""


class HostTableInvalid(Exception):
    """The file can't be used; the message says why."""


class Spot:
    """
    Where a name's slot is.

    Args:
        name: The key's name.

        buckets: How many the table has.
    """

    __slots__ = ("bucket", "name", "offset")

    def __init__(self, name: str, buckets: int) -> None:
        encoded = name.encode()
        self.name = encoded.ljust(NAME_BYTES, b"\0")[:NAME_BYTES]
        # Not Python's own hash, which differs between processes.
        self.bucket = zlib.crc32(encoded) % buckets
        self.offset = 0


def create_table(path: Path, workers: int, buckets: int = BUCKETS) -> None:
    """
    Make an empty table, all of it on disk: a file that grew when first written to could fail by a signal.

    Args:
        path: Where; readable by its owner only.

        workers: How many processes will use it, each with an index below this.

        buckets: How many; fewer in tests.

    Raises:
        OSError: If there is no room for it, or there is such a file already.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, _size(workers, buckets))
        os.pwrite(descriptor, _HEADER.pack(MAGIC, workers, buckets), 0)
    finally:
        os.close(descriptor)


class HostTable:
    """
    The table, mapped.

    Args:
        path: Made by `create_table`.

    Raises:
        HostTableInvalid: If it isn't what `create_table` makes, or can't be mapped or locked.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDWR)
        except OSError as error:
            raise HostTableInvalid(f"{path}: {error.strerror or error}") from error
        try:
            self.workers, self.buckets = _read_header(self._descriptor)
            self._memory = mmap.mmap(self._descriptor, 0)
            self._words = memoryview(self._memory).cast("Q")  # reads and writes of one are not torn
            fcntl.lockf(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB, 1, self.buckets)  # no bucket's
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, self.buckets)
        except HostTableInvalid as error:
            os.close(self._descriptor)
            raise HostTableInvalid(f"{path}: {error}") from None
        except (OSError, ValueError) as error:
            os.close(self._descriptor)
            raise HostTableInvalid(f"{path}: can't be mapped or locked ({error})") from error
        self._lives = struct.Struct(f"@{self.workers}Q")
        self._first_wish = (_HEADER.size + self._lives.size) // _WORD_BYTES
        self._first_slot = (self._first_wish + self.buckets) * _WORD_BYTES
        self._slot_bytes = _slot_bytes(self.workers)
        self._place_word = (NAME_BYTES + _COUNTS.size) // _WORD_BYTES

    def begin_life(self, worker: int) -> int:
        """
        Begin anew as a worker: what an earlier process of this index held is free from now on.

        To be called by the worker itself, or once it is dead.

        Args:
            worker: Its index.

        Returns:
            The number of its new life.
        """
        at = _HEADER.size // _WORD_BYTES + worker
        life = (self._words[at] + 1) & _COUNT_MASK
        self._words[at] = life
        return life

    def lock(self, bucket: int) -> bool:
        """
        Keep the other processes out of a bucket.

        Args:
            bucket: Which.

        Returns:
            Whether that succeeded within `LOCK_TRIES`; if so, `unlock` has to follow.
        """
        try:
            fcntl.lockf(self._descriptor, _TRY, 1, bucket)
        except BlockingIOError:
            return self._wait_for(bucket)
        return True

    def _wait_for(self, bucket: int) -> bool:
        for _ in range(LOCK_TRIES):
            self._words[self._first_wish + bucket] = 1
            # Sleeping leaves the core to whoever has the lock; the loop is held up either way, for microseconds.
            time.sleep(LOCK_PAUSE_S)
            try:
                fcntl.lockf(self._descriptor, _TRY, 1, bucket)
            except BlockingIOError:
                continue
            return True
        return False

    def unlock(self, bucket: int) -> None:
        """
        Let the others in, those who wait first.

        Args:
            bucket: Which.
        """
        fcntl.lockf(self._descriptor, fcntl.LOCK_UN, 1, bucket)
        wish = self._first_wish + bucket
        if self._words[wish]:
            # A wish of somebody who died or gave up costs one pause.
            self._words[wish] = 0
            time.sleep(COURTESY_S)

    def find(self, spot: Spot, window_index: int) -> bool:
        """
        Look up a name's slot, or give it one: an empty one, or that of somebody idle. Under the bucket's lock.

        Args:
            spot: Whose; learns where the slot is.

            window_index: The present window.

        Returns:
            Whether there is a slot; False if all of the bucket are in use by others.
        """
        memory = self._memory
        if spot.offset and memory[spot.offset : spot.offset + NAME_BYTES] == spot.name:
            return True
        first = self._first_slot + spot.bucket * SLOTS_A_BUCKET * self._slot_bytes
        offsets = range(first, first + SLOTS_A_BUCKET * self._slot_bytes, self._slot_bytes)
        for offset in offsets:
            if memory[offset : offset + NAME_BYTES] == spot.name:
                spot.offset = offset
                return True
        for offset in offsets:
            if self._is_free(offset, window_index):
                self.write(offset, Account(window_index))
                memory[offset : offset + NAME_BYTES] = spot.name
                spot.offset = offset
                return True
        return False

    def read(self, offset: int) -> Counts:
        """
        Read a slot's counts. Under the bucket's lock.

        Args:
            offset: The slot's.

        Returns:
            The counts; all zero if they are impossible.
        """
        counts: Counts = _COUNTS.unpack_from(self._memory, offset + NAME_BYTES)
        return counts if max(counts) < COUNT_LIMIT else (counts[0], 0, 0, 0, 0)

    def write(self, offset: int, account: Account) -> None:
        """
        Write a slot's counts in one piece. Under the bucket's lock.

        Args:
            offset: The slot's.

            account: What to write.
        """
        at = offset + NAME_BYTES
        self._memory[at : at + _COUNTS.size] = _COUNTS.pack(
            account.window_index,
            account.requests,
            account.requests_before,
            account.tokens,
            account.tokens_before,
        )

    def places(self, offset: int) -> int:
        """
        Count the places that living workers hold; without the lock, at least those that are still held then.

        Args:
            offset: The slot's.

        Returns:
            How many.
        """
        words = self._lives.unpack_from(self._memory, offset + NAME_BYTES + _COUNTS.size)
        count = 0
        if any(words):
            lives = self._lives.unpack_from(self._memory, _HEADER.size)
            for word, life in zip(words, lives, strict=True):
                if word >> 32 == life:
                    count += word & _COUNT_MASK
        return count

    def add_place(self, offset: int, worker: int, life: int, change: int) -> None:
        """
        Take or give back one place, as the worker that holds it; a taking under the bucket's lock.

        Args:
            offset: The slot's.

            worker: Its index.

            life: What `begin_life` gave it.

            change: 1 or -1.
        """
        at = offset // _WORD_BYTES + self._place_word + worker
        word = self._words[at]
        count = word & _COUNT_MASK if word >> 32 == life else 0
        self._words[at] = life << 32 | max(0, count + change)

    def close(self) -> None:
        """Unmap the file; what this process held stays taken until the worker's next life."""
        self._words.release()
        self._memory.close()
        os.close(self._descriptor)

    def _is_free(self, offset: int, window_index: int) -> bool:
        if self._memory[offset : offset + NAME_BYTES] == EMPTY:
            return True
        # Windows of the past two still count; a later one than the present is garbage.
        return not window_index - 1 <= self.read(offset)[0] <= window_index and not self.places(offset)


def _read_header(descriptor: int) -> tuple[int, int]:
    size = os.fstat(descriptor).st_size
    header = os.pread(descriptor, _HEADER.size, 0)
    if len(header) < _HEADER.size or not header.startswith(MAGIC):
        raise HostTableInvalid("is not a quota table")
    _, workers, buckets = _HEADER.unpack(header)
    if not 1 <= workers <= WORKERS_LIMIT or not buckets or size != _size(workers, buckets):
        raise HostTableInvalid("is a quota table of impossible size")
    return workers, buckets


def _slot_bytes(workers: int) -> int:
    return NAME_BYTES + _COUNTS.size + workers * _WORD_BYTES


def _size(workers: int, buckets: int) -> int:
    return _HEADER.size + (workers + buckets) * _WORD_BYTES + buckets * SLOTS_A_BUCKET * _slot_bytes(workers)
