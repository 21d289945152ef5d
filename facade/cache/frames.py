"""
How a value is wrapped in Redis, so that whatever else lies under our keys is a miss and never an answer.

::

    "tF" | kind u8 | computed at, ms u64 | fresh until, ms u64 | CRC-32 u32 | value

Little-endian; times are milliseconds since 1970. The checksum covers the key as well: a frame that was copied or
renamed to another key doesn't pass. A lease is a frame of another kind *under the same key*, so that a value
replaces its lease in one step and a claim (SET NX) can't be won after the value arrived.
"""

import struct
from enum import IntEnum
from typing import NamedTuple
from zlib import crc32

_HEAD = struct.Struct("<2sBQQ")
_CHECKSUM = struct.Struct("<I")
_MAGIC = b"tF"
HEADER_BYTES = _HEAD.size + _CHECKSUM.size
"""Bytes that a frame adds to its value."""


class FrameKind(IntEnum):
    """What a frame carries."""

    VALUE = 1
    LEASE = 2


class Frame(NamedTuple):
    """What lay under a key, proven to be ours."""

    kind: FrameKind
    """An answer, or the promise of one."""

    computed_ms: int
    """When the answer was computed, by the clock of the one that wrote it."""

    expires_ms: int
    """Until when it may be given out."""

    value: bytes
    """The answer, or the lease's token."""


def encode_frame(key: bytes, frame: Frame) -> bytes:
    """Bytes of *frame*, bound to *key*."""
    head = _HEAD.pack(_MAGIC, frame.kind, frame.computed_ms, frame.expires_ms)
    checksum = crc32(frame.value, crc32(head, crc32(key)))
    return head + _CHECKSUM.pack(checksum) + frame.value


def decode_frame(key: bytes, raw: object) -> Frame | None:
    """
    Take a frame apart.

    Args:
        key: The key that it was found under.

        raw: Whatever Redis answered.

    Returns:
        The frame, or None if *raw* is anything but a whole frame that was written for *key*.
    """
    if not isinstance(raw, bytes) or len(raw) < HEADER_BYTES:
        return None
    magic, kind, computed_ms, expires_ms = _HEAD.unpack_from(raw)
    if magic != _MAGIC:
        return None
    value = raw[HEADER_BYTES:]
    (checksum,) = _CHECKSUM.unpack_from(raw, _HEAD.size)
    if checksum != crc32(value, crc32(raw[: _HEAD.size], crc32(key))):
        return None
    try:
        return Frame(FrameKind(kind), computed_ms, expires_ms, value)
    except ValueError:
        # A later façade wrote a kind that this one doesn't know.
        return None
