"""Compressed bodies: what comes back, how large they may become, which encoding is chosen."""

from __future__ import annotations

import gzip
import zlib

import pytest

from facade.errors import BodyTooLarge, InvalidInput
from facade.routes.v2_encoding import choose_encoding, compress, decompress


@pytest.mark.parametrize("encoding", [None, b"", b"identity", b"gzip", b"GZIP", b"deflate"])
def test_bodies_unfold(encoding: bytes | None) -> None:
    """From each encoding that Triton knows, up to the limit itself."""
    body = b"abc" * 1000
    packed = {b"gzip": gzip.compress, b"deflate": zlib.compress}.get((encoding or b"").lower(), bytes)(body)

    assert decompress(packed, encoding, len(body)) == body


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
def test_a_bomb_is_stopped_at_the_limit(encoding: bytes) -> None:
    """A megabyte of zeros in a kilobyte."""
    packed = {b"gzip": gzip.compress, b"deflate": zlib.compress}[encoding](b"\0" * 2**20)
    with pytest.raises(BodyTooLarge):
        decompress(packed, encoding, 2**20 - 1)


@pytest.mark.parametrize(
    ("packed", "encoding"),
    [
        (b"abc", b"gzip"),
        (b"", b"gzip"),
        (gzip.compress(b"abc")[:-4], b"gzip"),
        (gzip.compress(b"abc") + b"x", b"gzip"),
        (gzip.compress(b"abc"), b"deflate"),
        (b"abc", b"br"),
        (gzip.compress(gzip.compress(b"abc")), b"gzip, gzip"),
    ],
)
def test_what_isnt_whole_is_refused(packed: bytes, encoding: bytes) -> None:
    """Cut off, followed by something, of another encoding, of one that we don't know."""
    with pytest.raises(InvalidInput):
        decompress(packed, encoding, 1000)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("gzip, deflate, br", "gzip"),
        ("deflate, gzip", "deflate"),
        ("gzip;q=0.5, deflate", "deflate"),
        ("gzip;q=0", None),
        ("identity, gzip;q=0.5", None),
        ("br, *", None),
        ("gzip;q=x", None),
        ("gzip;q=nan", None),
        ("", None),
        ("GZIP ; Q=1", "gzip"),
    ],
)
def test_the_heaviest_encoding_is_chosen(accept: str, chosen: str | None) -> None:
    """Of what we have, the first of equals."""
    assert choose_encoding(accept) == chosen


def test_answers_are_compressed_where_it_is_worth_it() -> None:
    """Short ones travel as they are."""
    assert compress(b"abc", b"gzip") == (b"abc", None)
    assert compress(b"abc" * 1000, None)[1] is None
    packed, encoding = compress(b"abc" * 1000, b"gzip")
    assert encoding == "gzip"
    assert gzip.decompress(packed) == b"abc" * 1000
