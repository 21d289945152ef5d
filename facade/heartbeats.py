"""
Signs of life of several workers, counted in a small file that they and their parent have mapped.

A worker whose event loop stands still for good keeps its part of the port: every n-th caller waits in vain, and no
kernel says a word. So each worker counts up once a second, and the parent looks once a second whether it did.

Rule that a later editor must keep: the parent counts its own looks and not seconds, and reads no clock. Whoever is
paused together with its workers, or has its clock set, looks again before it judges.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

HEARTBEATS_VARIABLE = "FACADE_HEARTBEATS_FILE"
"""Environment variable: the file in which workers give signs of life."""

INTERVAL_S = 1.0
"""Seconds between two signs of life, and between two looks."""

START_LOOKS = 60
"""Looks that a worker may take to its first sign: it imports and connects on a disk that may be slow."""

_COUNT = struct.Struct("=Q")


def create_heartbeats(path: Path, workers: int) -> None:
    """
    Make the file.

    Args:
        path: Where.

        workers: How many give signs.

    Raises:
        OSError: If it can't be written.
    """
    path.write_bytes(bytes(_COUNT.size * workers))


class Heartbeats:
    """
    The mapped file.

    Args:
        path: What `create_heartbeats` made.

    Raises:
        OSError: If it can't be mapped.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def beat(self, worker: int) -> None:
        """Give a sign of life."""
        (count,) = _COUNT.unpack_from(self._map, worker * _COUNT.size)
        _COUNT.pack_into(self._map, worker * _COUNT.size, count + 1)

    def begin(self, worker: int) -> None:
        """Forget what a worker's predecessor counted."""
        _COUNT.pack_into(self._map, worker * _COUNT.size, 0)

    def read(self) -> list[int]:
        """Give what each worker has counted."""
        return [count for (count,) in _COUNT.iter_unpack(self._map)]

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()


@dataclass(slots=True)
class Watch:
    """Tells from the counts who hangs."""

    patience_looks: int
    """So many looks without a sign, and a worker hangs."""

    _seen: dict[int, int] = field(default_factory=dict)
    _missed: dict[int, int] = field(default_factory=dict)

    def look(self, counts: Sequence[int]) -> list[int]:
        """
        Look once.

        Args:
            counts: What each worker has counted.

        Returns:
            The workers that hang; each is named once, and then begins anew.
        """
        hung = []
        for worker, count in enumerate(counts):
            has_moved = count != self._seen.get(worker, 0)
            self._seen[worker] = count
            self._missed[worker] = 0 if has_moved else self._missed.get(worker, 0) + 1
            if self._missed[worker] >= (self.patience_looks if count else START_LOOKS):
                self._missed[worker] = 0
                hung.append(worker)
        return hung
