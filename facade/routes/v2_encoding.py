"""
Compressed bodies of the V2 protocol, both ways, as Triton's HTTP endpoint takes and gives them: gzip and deflate.

A few kilobytes can unfold to gigabytes, so unfolding stops at the body limit. ``deflate`` means zlib's format, as RFC
9110, 8.4.1.2, says.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from facade.errors import BodyTooLarge, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

_WINDOW_BITS: Mapping[str, int] = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""What zlib is told of a format."""

SMALLEST_BYTES = 1_024
"""Shorter answers travel as they are: they fit a packet, and compressing costs more than it saves."""

LEVEL = 1
"""zlib's fastest: floating-point numbers hardly get smaller by more effort."""


def decompress(body: bytes, encoding: bytes | None, limit_bytes: int) -> bytes:
    """
    Unfold a body.

    Args:
        body: As it came.

        encoding: The header ``Content-Encoding``; None if there is none.

        limit_bytes: Largest body.

    Returns:
        The body that was meant.

    Raises:
        BodyTooLarge: If it is larger than the limit.

        InvalidInput: If the encoding isn't one that we know, or the body isn't of it.
    """
    name = "" if encoding is None else encoding.decode("latin-1").strip().lower()
    if name in {"", "identity"}:
        return body
    bits = _WINDOW_BITS.get(name)
    if bits is None:
        raise InvalidInput(
            f"The body's Content-Encoding is '{name[:40]}'; send it as gzip, as deflate, or as it is."
        )
    unfolding = zlib.decompressobj(bits)
    try:
        unfolded = unfolding.decompress(body, limit_bytes + 1)
    except zlib.error:
        raise InvalidInput(f"The body isn't {name}, as its Content-Encoding says.") from None
    if len(unfolded) > limit_bytes:
        raise BodyTooLarge(
            f"The body unfolds to more than {limit_bytes} bytes; send fewer inputs in one request."
        )
    if not unfolding.eof or unfolding.unused_data:
        raise InvalidInput(f"The body isn't whole {name}, or something follows it.")
    return unfolded


def compress(body: bytes, accept: bytes | None) -> tuple[bytes, str | None]:
    """
    Compress an answer, if the caller wants that and it is worth it.

    Args:
        body: The answer.

        accept: The header ``Accept-Encoding``; None if there is none.

    Returns:
        The body to send, and its ``Content-Encoding``; None if it stays as it is.
    """
    name = None if accept is None or len(body) < SMALLEST_BYTES else choose_encoding(accept.decode("latin-1"))
    if name is None:
        return body, None
    folding = zlib.compressobj(LEVEL, wbits=_WINDOW_BITS[name])
    return folding.compress(body) + folding.flush(), name


def choose_encoding(accept: str) -> str | None:
    """
    Choose how an answer is compressed.

    Args:
        accept: ``Accept-Encoding``: names with weights, such as ``gzip;q=0.5, deflate``.

    Returns:
        The heaviest of what we have, the first of equals; None to send it as it is.
    """
    chosen, heaviest = None, 0.0
    for part in accept.split(","):
        name, _, rest = part.partition(";")
        name = name.strip().lower()
        if name != "identity" and name not in _WINDOW_BITS:
            continue
        weight = _read_weight(rest)
        if weight > heaviest:
            chosen, heaviest = name, weight
    return None if chosen == "identity" else chosen


def _read_weight(text: str) -> float:
    """Read ``q=0.5``; 1 where there is nothing, 0 where it is wrong."""
    text = text.strip()
    if not text:
        return 1.0
    name, _, value = text.partition("=")
    try:
        weight = float(value)
    except ValueError:
        return 0.0
    return weight if name.strip().lower() == "q" and 0 <= weight <= 1 else 0.0
