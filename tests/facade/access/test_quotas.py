"""The arithmetic of windows and the words of refusals."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.access.quotas import (
    UNLIMITED,
    Standing,
    Usage,
    Window,
    refuse_in_flight,
    refuse_requests,
    refuse_tokens,
    to_go_duration,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (-1, "0s"), (0.012, "12ms"), (0.001, "1ms"), (0.0101, "11ms"), (0.9999, "1s"), (1, "1s"),
        (1.5, "1.5s"), (1.234, "1.234s"), (59.9999, "1m0s"), (360, "6m0s"), (61.5, "1m1.5s"), (3600, "1h0m0s"),
        (3661, "1h1m1s"),
    ],
)  # fmt: skip
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    """The spelling of OpenAI's reset headers, rounded up to milliseconds."""
    assert to_go_duration(seconds) == text


def test_the_previous_window_counts_for_what_is_left_of_it() -> None:
    """Half a minute into the window, half of the previous one still counts."""
    assert Window(100, 30.0, 10, 90.0).used() == 60
    assert Window(0, 0.0, 7, 90.0).reset_s() == 90.0
    assert Window(5, 30.0, 0, 0.0).reset_s() == 30.0
    assert Window(0, 0.0, 0, 0.0).reset_s() == 0.0


def later(window: Window, seconds: float) -> Window:
    """Let *window* grow older by *seconds* without use, by the definition of a sliding window."""
    previous, previous_ttl_s, current, current_ttl_s = window
    if seconds < previous_ttl_s:
        return Window(previous, previous_ttl_s - seconds, current, current_ttl_s - seconds)
    return Window(current, max(0.0, current_ttl_s - seconds), 0, 0.0)


@given(
    st.integers(0, 200), st.floats(0.1, 60.0), st.integers(0, 400), st.integers(1, 100), st.data()
)  # fmt: skip
def test_after_the_wait_it_fits_and_before_it_does_not(
    previous: int, left_s: float, current: int, limit: int, data: st.DataObject
) -> None:
    """The wait is neither too short, for a caller that obeys it, nor needlessly long."""
    cost = data.draw(st.integers(1, limit))
    window = Window(previous, left_s, current, left_s + 60.0)
    wait_s = window.wait_s(limit, cost)
    assert 0.0 <= wait_s <= 120.0
    assert later(window, wait_s + 0.001).used() + cost <= limit
    if wait_s > 0.01:
        assert later(window, wait_s - 0.01).used() + cost > limit


def test_headers_are_openais_and_only_for_limits_that_exist() -> None:
    """Six headers for two limits, three for one, none for none."""
    requests = Usage(60, Window(0, 0.0, 1, 90.0))
    tokens = Usage(1000, Window(0, 0.0, 5000, 61.0))
    assert Standing(requests, tokens).headers() == {
        "x-ratelimit-limit-requests": "60",
        "x-ratelimit-remaining-requests": "59",
        "x-ratelimit-reset-requests": "1m30s",
        "x-ratelimit-limit-tokens": "1000",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "1m1s",
    }
    assert len(Standing(None, tokens).headers()) == 3
    assert Standing(None, None).headers() == {}


def test_refusals_carry_a_jittered_wait_and_the_headers() -> None:
    """The wait grows with the jitter by at most its share and is never zero."""
    usage = Usage(10, Window(0, 0.0, 10, 90.0))
    standing = Standing(usage, usage)
    least = refuse_requests(usage, standing, 1, lambda: 0.0)
    most = refuse_requests(usage, standing, 1, lambda: 1.0)
    assert least.retry_after_s == pytest.approx(30.0)
    assert most.retry_after_s == pytest.approx(37.5)
    assert "10 requests a minute" in least.message
    assert "30s" in least.message
    assert least.headers == standing.headers()
    assert "tokens" in refuse_tokens(usage, standing).message
    waits = {refuse_in_flight(2, standing).retry_after_s for _ in range(20)}
    assert len(waits) == 20
    assert all(wait is not None and 0.5 <= wait <= 1.25 for wait in waits)
    empty = Usage(10, Window(0, 0.0, 0, 0.0))
    assert (refuse_requests(empty, standing, 1).retry_after_s or 0) > 0


def test_without_limits_there_is_nothing_to_tell_or_release() -> None:
    """The unlimited lease can be released any number of times."""
    assert UNLIMITED.headers() == {}
    asyncio.run(UNLIMITED.release(5))
    asyncio.run(UNLIMITED.release())
