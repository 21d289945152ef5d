"""Progress lines."""

import io

import pytest

from export.progress import Progress


def test_a_step_tells_its_start_and_its_seconds() -> None:
    """A line when the step starts, one with the elapsed seconds when it is done."""
    stream = io.StringIO()
    ticks = iter([10.0, 12.34])
    progress = Progress(stream, clock=lambda: next(ticks))
    with progress.step("Converting"):
        assert stream.getvalue() == "Converting ...\n"
    assert stream.getvalue() == "Converting ...\nConverting: done in 2.3 s\n"
    assert progress.seconds == {"Converting": pytest.approx(2.34)}


def test_a_failed_step_is_not_done() -> None:
    """A step that raises isn't told as done."""
    stream = io.StringIO()
    with pytest.raises(KeyError), Progress(stream).step("Converting"):
        raise KeyError
    assert stream.getvalue() == "Converting ...\n"


def test_progress_without_a_stream_is_silent() -> None:
    """With no stream the seconds are still kept."""
    progress = Progress(None)
    with progress.step("quiet"):
        pass
    assert set(progress.seconds) == {"quiet"}
