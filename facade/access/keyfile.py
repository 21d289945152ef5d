"""
Follow the keys file: the ring that holds now, and what is wrong with the file if it is not what the file says.

A broken edit keeps the last good ring. At the start there is none to keep, so that a broken file stops the start.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from facade.access.key_reader import ReaderFailed, read_beside, read_first
from facade.access.keys import Key, KeyRing, KeysInvalid, Tier

_log = logging.getLogger(__name__)

Fingerprint = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class KeyFileStatus:
    """How the ring in use relates to the file."""

    is_current: bool
    """Whether the last attempt to read the file succeeded."""

    error: str | None
    """Why it didn't, naming key and field; None if it did."""

    last_loaded_at: float
    """When the ring in use was read, in seconds since 1970."""

    key_count: int
    """Keys in the ring in use."""


class KeyFile:
    """
    One keys file, read when made and again whenever it changes.

    Args:
        path: The file; a link to it is followed each time, as Kubernetes replaces links.

        poll_every_s: Seconds between looks at the file's size, inode and times.

        on_load: Called with the status after each attempt to read a changed file.

    Raises:
        KeysInvalid: If the file can't be read or is wrong.
    """

    def __init__(
        self,
        path: Path,
        *,
        poll_every_s: float = 1.0,
        on_load: Callable[[KeyFileStatus], None] | None = None,
    ) -> None:
        self.path = path
        self._poll_every_s = poll_every_s
        self._on_load = on_load
        self._polling: asyncio.Task[None] | None = None
        # Looked at before the file is read: an edit during the reading is seen at the next look.
        self._fingerprint = look_at(path)
        self.ring: KeyRing = read_first(path)
        """The keys that hold now. Take it once a request, so that the request sees one state."""

        self.status = KeyFileStatus(
            is_current=True, error=None, last_loaded_at=time.time(), key_count=len(self.ring)
        )
        """How that relates to the file."""

    def find(self, secret: str) -> Key | None:
        """
        Match a presented secret; see `KeyRing.find`.

        Args:
            secret: As the caller sent it.

        Returns:
            The key, or None.
        """
        return self.ring.find(secret)

    def tier_of(self, key: Key) -> Tier:
        """
        Look up what a key may use up by now, also if it was found before the last edit.

        Args:
            key: One of this ring or of an earlier one.

        Returns:
            Its tier; without limits in the one case that an edit removed both tier and key meanwhile.
        """
        return self.ring.tiers.get(key.tier) or Tier(key.tier)

    def start(self) -> None:
        """Begin to follow the file, in a task of the running loop."""
        if self._polling is None:
            self._polling = asyncio.create_task(self._poll(), name="keys-file")

    async def aclose(self) -> None:
        """Stop following the file."""
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
            self._polling = None

    async def reload(self) -> KeyFileStatus:
        """
        Read the file now, beside whatever else goes on.

        Returns:
            The status afterwards; the ring in use changed only if `is_current`.
        """
        self._fingerprint = look_at(self.path)
        try:
            ring = await read_beside(self.path)
        except KeysInvalid as error:
            self.status = KeyFileStatus(
                is_current=False,
                error=str(error),
                last_loaded_at=self.status.last_loaded_at,
                key_count=len(self.ring),
            )
            _log.error("keys file %s is not used as it is: %s", self.path, error)
            if isinstance(error, ReaderFailed):
                self._fingerprint = None  # the next look tries again
        else:
            self.ring = ring
            self.status = KeyFileStatus(
                is_current=True, error=None, last_loaded_at=time.time(), key_count=len(ring)
            )
            _log.info("keys file %s: %d keys, %d tiers", self.path, len(ring), len(ring.tiers))
        if self._on_load is not None:
            self._on_load(self.status)
        return self.status

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._poll_every_s)
            if look_at(self.path) != self._fingerprint:
                await self.reload()


def look_at(path: Path) -> Fingerprint | None:
    """
    Tell versions of a file apart without reading it.

    Args:
        path: The file.

    Returns:
        Device, inode, size and times in nanoseconds, or None if there is no such file.
    """
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
