"""
Quotas counted in one process: no waiting, a few microseconds.

Also what replicas fall back to when they can't count together; each then grants its share of every limit.
"""

import random
import time
from collections.abc import Callable

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


class Account:
    """What one key used."""

    __slots__ = ("in_flight", "requests", "requests_before", "tokens", "tokens_before", "window_index")

    def __init__(self, window_index: int) -> None:
        self.window_index = window_index
        self.requests = 0
        self.requests_before = 0
        self.tokens = 0
        self.tokens_before = 0
        self.in_flight = 0

    def roll(self, window_index: int) -> None:
        """
        Move on to the present window.

        Args:
            window_index: Its number.
        """
        if window_index == self.window_index + 1:
            self.requests_before, self.tokens_before = self.requests, self.tokens
        else:
            self.requests_before = self.tokens_before = 0
        self.requests = self.tokens = 0
        self.window_index = window_index


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
        self._window_s = window_s
        self._clock = clock
        self._jitter = jitter
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
        left_s = self._window_s - now % self._window_s
        in_flight_limit = self._share(tier.max_in_flight)
        requests = self._usage(tier.requests_per_minute, account.requests_before, account.requests, left_s)
        tokens = self._usage(tier.tokens_per_minute, account.tokens_before, account.tokens, left_s)
        if requests is not None and requests.window.used(self._window_s) + cost_requests > requests.limit:
            raise refuse_requests(requests, Standing(requests, tokens), cost_requests, self._jitter)
        if tokens is not None and tokens.window.used(self._window_s) >= tokens.limit:
            raise refuse_tokens(tokens, Standing(requests, tokens), self._jitter)
        if in_flight_limit is not None and account.in_flight >= in_flight_limit:
            raise refuse_in_flight(in_flight_limit, Standing(requests, tokens), self._jitter)
        account.requests += cost_requests
        account.in_flight += 1
        after = self._usage(tier.requests_per_minute, account.requests_before, account.requests, left_s)
        return MemoryLease(self, account, Standing(after, tokens))

    def charge(self, account: Account, tokens: int) -> None:
        """
        Count tokens in the window in which they became known.

        Args:
            account: Whose.

            tokens: How many.
        """
        window_index = int(self._clock() // self._window_s)
        if window_index != account.window_index:
            account.roll(window_index)
        account.tokens += tokens

    async def aclose(self) -> None:
        """Nothing to give up."""

    def __len__(self) -> int:
        return len(self._accounts)

    def _account(self, name: str, now: float) -> Account:
        window_index = int(now // self._window_s)
        account = self._accounts.get(name)
        if account is None:
            if len(self._accounts) >= self._sweep_at:
                self._sweep(window_index)
            account = self._accounts[name] = Account(window_index)
        elif account.window_index != window_index:
            account.roll(window_index)
        return account

    def _sweep(self, window_index: int) -> None:
        """Forget who has nothing in flight and no use that still counts; doubling keeps this rare."""
        self._accounts = {
            name: account
            for name, account in self._accounts.items()
            if account.in_flight > 0 or account.window_index >= window_index - 1
        }
        self._sweep_at = max(FIRST_SWEEP, 2 * len(self._accounts))

    def _share(self, limit: int | None) -> int | None:
        return None if limit is None else max(1, limit // self.replicas)

    def _usage(self, limit: int | None, before: int, current: int, left_s: float) -> Usage | None:
        if limit is None:
            return None
        window = Window(before, left_s, current, left_s + self._window_s)
        return Usage(max(1, limit // self.replicas), window, self._window_s)
