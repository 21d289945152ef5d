"""
Quotas counted in one process: no waiting, a few microseconds.

Also what replicas fall back to when they can't count together; each then grants its share of every limit. What an
account decides is decided here alone: `host_quotas.HostQuotas` keeps the same accounts in a file.
"""

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from facade.access.keys import Key, Tier
from facade.access.quotas import (
    UNLIMITED,
    WINDOW_S,
    Lease,
    Standing,
    Usage,
    Window,
    refuse_in_flight,
    refuse_requests,
    refuse_tokens,
)

FIRST_SWEEP = 1024
"""Accounts held before idle ones are looked for the first time."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On what terms accounts are kept."""

    replicas: int = 1
    """How many countings share the limits without knowing of each other; each grants its part, at least 1."""

    window_s: float = WINDOW_S
    """Length of "a minute" in seconds."""

    jitter: Callable[[], float] = random.random
    """Uniform in [0, 1)."""

    def share(self, limit: int | None) -> int | None:
        """
        Divide a limit.

        Args:
            limit: What all together may grant; None is no limit.

        Returns:
            This counting's part.
        """
        return None if limit is None else max(1, limit // self.replicas)


class Account:
    """What one key used."""

    __slots__ = ("in_flight", "requests", "requests_before", "tokens", "tokens_before", "window_index")

    def __init__(
        self,
        window_index: int,
        requests: int = 0,
        requests_before: int = 0,
        tokens: int = 0,
        tokens_before: int = 0,
    ) -> None:
        self.window_index = window_index
        self.requests = requests
        self.requests_before = requests_before
        self.tokens = tokens
        self.tokens_before = tokens_before
        self.in_flight = 0

    def roll(self, window_index: int) -> None:
        """
        Move on to the present window.

        Args:
            window_index: Its number.
        """
        if window_index == self.window_index:
            return
        if window_index == self.window_index + 1:
            self.requests_before, self.tokens_before = self.requests, self.tokens
        else:
            self.requests_before = self.tokens_before = 0
        self.requests = self.tokens = 0
        self.window_index = window_index

    def take(self, tier: Tier, cost: int, now: float, terms: Terms) -> Standing:
        """
        Count one request, or refuse it and leave all counts as they were.

        Args:
            tier: What may be used up.

            cost: How many requests it counts for.

            now: Monotonic seconds.

            terms: How limits are divided and windows cut.

        Returns:
            Where the key stands afterwards.

        Raises:
            RateLimited: If a limit is reached.
        """
        window_s = terms.window_s
        self.roll(int(now // window_s))
        left_s = window_s - now % window_s
        request_limit, token_limit = (
            terms.share(tier.requests_per_minute),
            terms.share(tier.tokens_per_minute),
        )
        place_limit = terms.share(tier.max_in_flight)

        # `Window.used`, spelt out: the objects are for the answer, and are made of what counts after it.
        weighed = math.floor(self.requests_before * left_s / window_s) + self.requests
        lacks_requests = request_limit is not None and weighed + cost > request_limit
        weighed = math.floor(self.tokens_before * left_s / window_s) + self.tokens
        lacks_tokens = token_limit is not None and weighed >= token_limit
        lacks_place = place_limit is not None and self.in_flight >= place_limit
        is_refused = lacks_requests or lacks_tokens or lacks_place
        if not is_refused:
            self.requests += cost
            self.in_flight += 1
        requests = tokens = None
        if request_limit is not None:
            window = Window(self.requests_before, left_s, self.requests, left_s + window_s)
            requests = Usage(request_limit, window, window_s)
        if token_limit is not None:
            window = Window(self.tokens_before, left_s, self.tokens, left_s + window_s)
            tokens = Usage(token_limit, window, window_s)
        standing = Standing(requests, tokens)
        if lacks_requests and requests is not None:
            raise refuse_requests(requests, standing, cost, terms.jitter)
        if lacks_tokens and tokens is not None:
            raise refuse_tokens(tokens, standing, terms.jitter)
        if lacks_place and place_limit is not None:
            raise refuse_in_flight(place_limit, standing, terms.jitter)
        return standing


class MemoryLease:
    """A place in this process's count."""

    __slots__ = ("_account", "_quotas", "_standing")

    def __init__(self, quotas: "MemoryQuotas", account: Account, standing: Standing) -> None:
        self._quotas = quotas
        self._account: Account | None = account
        self._standing = standing

    def headers(self) -> dict[str, str]:
        """
        Write the caller's standing.

        Returns:
            ``x-ratelimit-*``.
        """
        return self._standing.headers()

    async def release(self, tokens: int = 0) -> None:
        """
        Give the place back and charge *tokens*.

        Args:
            tokens: True count of the answer.
        """
        account, self._account = self._account, None
        if account is not None:
            account.in_flight -= 1
            if tokens > 0:
                self._quotas.charge(account, tokens)


class MemoryQuotas:
    """
    Counts by key name.

    Args:
        replicas: How many processes share the limits without knowing of each other; each grants 1/replicas of
            every limit, at least 1.

        window_s: Length of "a minute" in seconds; other than 60 in tests only.

        clock: Monotonic seconds.

        jitter: Uniform in [0, 1).
    """

    def __init__(
        self,
        replicas: int = 1,
        *,
        window_s: float = WINDOW_S,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.replicas = replicas
        self._terms = Terms(replicas, window_s, jitter)
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._sweep_at = FIRST_SWEEP

    async def admit(self, key: Key, tier: Tier, cost_requests: int = 1) -> Lease:
        """
        Take one request's place; see `Quotas.admit`.

        Args:
            key: Who asks.

            tier: What it may use up.

            cost_requests: How many requests it counts for.

        Returns:
            The lease to release.

        Raises:
            RateLimited: If a limit is reached.
        """
        if tier.is_unlimited:
            return UNLIMITED
        now = self._clock()
        account = self._account(key.name, now)
        return MemoryLease(self, account, account.take(tier, cost_requests, now, self._terms))

    def charge(self, account: Account, tokens: int) -> None:
        """
        Count tokens in the window in which they became known.

        Args:
            account: Whose.

            tokens: How many.
        """
        account.roll(int(self._clock() // self._terms.window_s))
        account.tokens += tokens

    async def aclose(self) -> None:
        """Nothing to give up."""

    def __len__(self) -> int:
        return len(self._accounts)

    def _account(self, name: str, now: float) -> Account:
        window_index = int(now // self._terms.window_s)
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= self._sweep_at:
                self._sweep(window_index)
            account = self._accounts[name] = Account(window_index)
        return account

    def _sweep(self, window_index: int) -> None:
        """Forget who has nothing in flight and no use that still counts; doubling keeps this rare."""
        self._accounts = {
            name: account
            for name, account in self._accounts.items()
            if account.in_flight > 0 or account.window_index >= window_index - 1
        }
        self._sweep_at = max(FIRST_SWEEP, 2 * len(self._accounts))
