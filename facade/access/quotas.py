"""
What a caller may use up in a minute and at once: the interface, and the arithmetic that all countings share.

Four countings implement `Quotas`:

1. `memory_quotas.MemoryQuotas`: one process counts for itself.
2. `host_quotas.HostQuotas`: the workers of one host count together.
3. `redis_quotas.RedisQuotas`: all replicas count together.
4. `fallback_quotas.FallbackQuotas`: together while Redis answers, else each host or process at its share.

Each counts with a sliding window made of two counters, as `limits` does: what was used in the last 60 s is taken to
be all of the present window plus the previous one, weighted by how much of it still lies within 60 s.
"""

import math
import random
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple, Protocol

from facade.access.keys import Key, Tier
from facade.errors import RateLimited

WINDOW_S = 60
"""Length of the window that limits "a minute" refer to."""

IN_FLIGHT_WAIT_S = 0.5
"""Least seconds to wait when too much is in flight: nobody knows when an answer will be ready."""

JITTER = 0.25
"""Waits are stretched at random by up to this share, so that refused callers don't return all at once."""

MILLISECONDS_A_SECOND = 1000
MILLISECONDS_HAIR = 1e-6
SECONDS_A_MINUTE = 60
MINUTES_AN_HOUR = 60


class Window(NamedTuple):
    """State of one sliding-window counter."""

    previous: int
    """Used in the window before."""

    previous_ttl_s: float
    """Seconds for which some of that still counts."""

    current: int
    """Used in the present window."""

    current_ttl_s: float
    """Seconds for which some of that will count: the rest of its window and one more."""

    def used(self, window_s: float = WINDOW_S) -> int:
        """
        Weigh both counters.

        Args:
            window_s: Length of the window in seconds.

        Returns:
            What counts as used at this moment.
        """
        return math.floor(self.previous * self.previous_ttl_s / window_s) + self.current

    def reset_s(self) -> float:
        """
        Tell when nothing will count any more, which is what OpenAI's ``x-ratelimit-reset-*`` means.

        Returns:
            Seconds.
        """
        if self.current > 0:
            return self.current_ttl_s
        return self.previous_ttl_s if self.previous > 0 else 0.0

    def wait_s(self, limit: int, cost: int = 1, window_s: float = WINDOW_S) -> float:
        """
        Tell when *cost* will fit, if nothing else is used until then.

        Args:
            limit: What may be used in a window.

            cost: What is wanted; more than *limit* never fits and gets the longest wait.

            window_s: Length of the window in seconds.

        Returns:
            Seconds.
        """
        room = limit - cost + 1  # what counts as used must be below this
        if self.used(window_s) < room:
            return 0.0
        if self.current < room:
            # Enough of the previous window has to slide out: previous * (ttl - t) / window < room - current.
            return max(0.0, self.previous_ttl_s - window_s * (room - self.current) / self.previous)
        # The present window has to become the previous one, and then to slide out far enough.
        until_next_s = max(0.0, self.current_ttl_s - window_s)
        return until_next_s + window_s * (1.0 - max(0, room) / self.current)


class Usage(NamedTuple):
    """How much of one limit is used."""

    limit: int
    """What may be used in a window."""

    window: Window
    """What was used."""

    window_s: float = WINDOW_S
    """Length of the window in seconds."""

    def in_words(self) -> tuple[str, str, str]:
        """
        Write it for headers.

        Returns:
            The limit, what remains of it, and when all of it is free again.
        """
        remaining = self.limit - self.window.used(self.window_s)
        return (
            str(self.limit),
            str(remaining) if remaining > 0 else "0",
            to_go_duration(self.window.reset_s()),
        )


class Standing(NamedTuple):
    """Where a caller stands with its limits; None where there is none."""

    requests: Usage | None
    """Requests a minute, this one included."""

    tokens: Usage | None
    """Tokens a minute, without this request's, which nobody knows yet."""

    def headers(self) -> dict[str, str]:
        """
        Write it as OpenAI does.

        Returns:
            ``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``, without the kind that has no limit.
        """
        headers: dict[str, str] = {}
        if self.requests is not None:
            (
                headers["x-ratelimit-limit-requests"],
                headers["x-ratelimit-remaining-requests"],
                headers["x-ratelimit-reset-requests"],
            ) = self.requests.in_words()
        if self.tokens is not None:
            (
                headers["x-ratelimit-limit-tokens"],
                headers["x-ratelimit-remaining-tokens"],
                headers["x-ratelimit-reset-tokens"],
            ) = self.tokens.in_words()
        return headers


class Lease(Protocol):
    """One request's place; to be given back exactly when the request ends, however it ends."""

    def headers(self) -> dict[str, str]:
        """
        Write the caller's standing as of the admission.

        Returns:
            Response headers; empty for a caller without limits.
        """

    async def release(self, tokens: int = 0) -> None:
        """
        Give the place back and charge what was used; never fails, never waits, and counts once if called twice.

        Args:
            tokens: True count of the answer, prompt included. 0 if there was none.
        """


class Quotas(Protocol):
    """Something that counts."""

    async def admit(self, key: Key, tier: Tier, cost_requests: int = 1) -> Lease:
        """
        Take one request's place, or refuse and leave all counts as they were.

        Args:
            key: Who asks.

            tier: What it may use up, from the present ring: limits apply as they are now.

            cost_requests: How many requests it counts for.

        Returns:
            The lease to release.

        Raises:
            RateLimited: With ``retry_after_s``, jittered, and the ``x-ratelimit-*`` headers.
        """

    async def aclose(self) -> None:
        """Give up all connections and tasks."""


class Unlimited:
    """The lease of a caller who has no limits, for whom nothing is counted."""

    def headers(self) -> dict[str, str]:
        """
        Tell that there are no limits.

        Returns:
            Nothing.
        """
        return {}

    async def release(self, tokens: int = 0) -> None:
        """
        Do nothing.

        Args:
            tokens: Ignored.
        """


UNLIMITED = Unlimited()


def refuse_requests(
    usage: Usage, standing: Standing, cost: int, jitter: Callable[[], float] = random.random
) -> RateLimited:
    """
    Word the refusal of a caller without requests left.

    Args:
        usage: Its requests.

        standing: For the headers.

        cost: What it wanted.

        jitter: Uniform in [0, 1).

    Returns:
        The error to raise.
    """
    wait_s = usage.window.wait_s(usage.limit, cost, usage.window_s)
    return _refuse(f"Limit of {usage.limit} requests a minute reached.", wait_s, standing, jitter)


def refuse_tokens(
    usage: Usage, standing: Standing, jitter: Callable[[], float] = random.random
) -> RateLimited:
    """
    Word the refusal of a caller whose earlier answers used up its tokens.

    Args:
        usage: Its tokens.

        standing: For the headers.

        jitter: Uniform in [0, 1).

    Returns:
        The error to raise.
    """
    wait_s = usage.window.wait_s(usage.limit, 1, usage.window_s)
    return _refuse(f"Limit of {usage.limit} tokens a minute reached.", wait_s, standing, jitter)


def refuse_in_flight(
    limit: int, standing: Standing, jitter: Callable[[], float] = random.random
) -> RateLimited:
    """
    Word the refusal of a caller who asks too much at once.

    Args:
        limit: How many requests it may have under way.

        standing: For the headers.

        jitter: Uniform in [0, 1).

    Returns:
        The error to raise.
    """
    # Doubled at random rather than stretched: the answers that it waits for have no common rhythm.
    wait_s = IN_FLIGHT_WAIT_S * (1.0 + jitter())
    return _refuse(f"Limit of {limit} requests at the same time reached.", wait_s, standing, jitter)


def _refuse(what: str, wait_s: float, standing: Standing, jitter: Callable[[], float]) -> RateLimited:
    # A millisecond at least: "retry after 0" invites a caller to spin.
    stretched_s = max(wait_s, 1 / MILLISECONDS_A_SECOND) * (1.0 + JITTER * jitter())
    error = RateLimited(f"{what} Try again in {to_go_duration(stretched_s)}.", retry_after_s=stretched_s)
    error.headers.update(standing.headers())
    return error


def to_go_duration(seconds: float) -> str:
    """
    Write a duration as Go's ``Duration.String`` does, in whole milliseconds, rounded up.

    Args:
        seconds: Negative counts as 0.

    Returns:
        ``12ms``, ``1s``, ``1.5s``, ``6m0s``, ``1h0m0s``, ``0s``.
    """
    # A millionth less: 0.001 * 1000 may be a hair above 1, and would become 2 ms.
    return _write_milliseconds(max(0, math.ceil(seconds * MILLISECONDS_A_SECOND - MILLISECONDS_HAIR)))


@lru_cache(maxsize=64)
def _write_milliseconds(milliseconds: int) -> str:
    if 0 < milliseconds < MILLISECONDS_A_SECOND:
        return f"{milliseconds}ms"
    whole_s, rest_ms = divmod(milliseconds, MILLISECONDS_A_SECOND)
    minutes, whole_s = divmod(whole_s, SECONDS_A_MINUTE)
    hours, minutes = divmod(minutes, MINUTES_AN_HOUR)
    fraction = f".{rest_ms:03d}".rstrip("0") if rest_ms else ""
    text = f"{whole_s}{fraction}s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text
