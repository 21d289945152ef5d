"""Who guesses keys has to wait; nobody else notices."""

import time

import pytest

from facade.access.guessing import Guesses, to_site
from facade.access.networks import to_address
from facade.errors import RateLimited

GUESSER = to_address("192.0.2.1")


def test_too_many_failures_close_an_address_and_no_other() -> None:
    """The address that failed is refused with a wait, its neighbour isn't."""
    guesses = Guesses(3, random_share=lambda: 0.0)
    for _ in range(3):
        guesses.check(GUESSER)
        guesses.note_failure(GUESSER)
    with pytest.raises(RateLimited) as error:
        guesses.check(GUESSER)
    assert error.value.code == "too_many_failures"
    assert error.value.retry_after_s is not None
    assert 1.0 <= error.value.retry_after_s <= 60.0
    guesses.check(to_address("192.0.2.2"))


def test_whoever_never_fails_is_never_counted() -> None:
    """Checking leaves no trace."""
    guesses = Guesses(1)
    for _ in range(100):
        guesses.check(GUESSER)
    assert len(guesses) == 0


def test_an_address_is_open_again_after_a_while() -> None:
    """Failures fade; the wait that was told is long enough."""
    guesses = Guesses(2, window_s=1, random_share=lambda: 0.0)
    guesses.note_failure(GUESSER)
    guesses.note_failure(GUESSER)
    deadline = time.monotonic() + 5
    was_refused = False
    while True:
        try:
            guesses.check(GUESSER)
        except RateLimited:
            was_refused = True
            assert time.monotonic() < deadline
            time.sleep(0.01)  # polling: time itself is what is waited for
        else:
            break
    assert was_refused


def test_an_ipv6_subscriber_counts_as_one() -> None:
    """Addresses of one /64 share their failures, those of the next don't; the unknown are one, too."""
    guesses = Guesses(2)
    guesses.note_failure(to_address("2001:db8::1"))
    guesses.note_failure(to_address("2001:db8::2"))
    with pytest.raises(RateLimited):
        guesses.check(to_address("2001:db8::ffff:3"))
    guesses.check(to_address("2001:db8:0:1::1"))
    assert to_site(None) == "unknown"


def test_memory_is_bounded_by_forgetting_the_oldest() -> None:
    """Many addresses push out the one that failed longest ago, and its counts with it."""
    guesses = Guesses(1, addresses_remembered=10)
    for last in range(1, 30):
        guesses.note_failure(to_address(f"198.51.100.{last}"))
    assert len(guesses) == 10
    guesses.check(to_address("198.51.100.1"))
    with pytest.raises(RateLimited):
        guesses.check(to_address("198.51.100.29"))
    assert len(guesses._counter.storage.storage) <= 10


def test_whoever_goes_on_guessing_is_not_the_one_forgotten() -> None:
    """Failing again makes an address the latest."""
    guesses = Guesses(1, addresses_remembered=3)
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.1", "192.0.2.4"):
        guesses.note_failure(to_address(address))
    with pytest.raises(RateLimited):
        guesses.check(GUESSER)
    guesses.check(to_address("192.0.2.2"))


def test_the_environment_cannot_switch_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of slowapi's own in the environment don't reach the counter."""
    monkeypatch.setenv("RATELIMIT_ENABLED", "false")
    monkeypatch.setenv("RATELIMIT_STORAGE_URL", "redis://127.0.0.1:1")
    guesses = Guesses(1)
    guesses.note_failure(GUESSER)
    with pytest.raises(RateLimited):
        guesses.check(GUESSER)
