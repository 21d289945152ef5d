"""A frame comes back as it went in, and nothing else passes for one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from facade.cache.frames import HEADER_BYTES, Frame, FrameKind, decode_frame, encode_frame

MILLISECONDS = st.integers(0, 2**63)
FRAMES = st.builds(Frame, st.sampled_from(FrameKind), MILLISECONDS, MILLISECONDS, st.binary(max_size=50))


@given(st.binary(max_size=30), FRAMES)
def test_a_frame_comes_back_as_it_went_in(key: bytes, frame: Frame) -> None:
    """Kind, times and value survive, at the stated cost."""
    raw = encode_frame(key, frame)
    assert decode_frame(key, raw) == frame
    assert len(raw) == HEADER_BYTES + len(frame.value)


@given(st.binary(max_size=80) | st.none() | st.text() | st.integers())
def test_garbage_is_no_frame(raw: object) -> None:
    """Whatever else lies under our key is nothing."""
    assert decode_frame(b"key", raw) is None


@given(FRAMES, st.integers(0, 10_000), st.integers(1, 255))
def test_a_frame_with_a_damaged_byte_is_no_frame(frame: Frame, place: int, change: int) -> None:
    """Each byte counts, those of the header too."""
    raw = bytearray(encode_frame(b"key", frame))
    raw[place % len(raw)] ^= change
    assert decode_frame(b"key", bytes(raw)) is None


@given(FRAMES, st.integers(0, 1000))
def test_a_cut_frame_is_no_frame(frame: Frame, length: int) -> None:
    """A value that was cut off is not an answer."""
    raw = encode_frame(b"key", frame)
    assert decode_frame(b"key", raw[: length % len(raw)]) is None


@given(FRAMES)
def test_a_frame_under_another_key_is_no_frame(frame: Frame) -> None:
    """An answer that was copied or renamed answers nothing else."""
    assert decode_frame(b"other", encode_frame(b"key", frame)) is None


def test_a_kind_from_the_future_is_no_frame() -> None:
    """A newer façade may share the Redis."""
    raw = encode_frame(b"key", Frame(7, 1, 2, b"v"))  # type: ignore[arg-type]
    assert decode_frame(b"key", raw) is None
