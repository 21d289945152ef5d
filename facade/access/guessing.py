"""
Slow down whoever guesses keys: too many failures from one address, and the address has to wait.

Built on slowapi's limiter object with its storage in memory, used from code: its middlewares don't see routes of
included routers, and its decorator counts every request where only failures should count. Storage and strategy are
named explicitly, because slowapi otherwise takes them from the environment and from a file ``.env``.
"""

import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from limits import RateLimitItem, RateLimitItemPerSecond
from slowapi import Limiter

from facade.access.networks import Address
from facade.errors import RateLimited

if TYPE_CHECKING:
    from limits.strategies import RateLimiter

_log = logging.getLogger(__name__)

WINDOW_S = 60
IPV6_SITE_BITS = 64
"""One IPv6 subscriber has at least a /64, so that many addresses count as one."""


class Guesses:
    """
    Failures to authenticate, by address.

    Args:
        failures_per_minute: How many an address may have in any minute. A client that starts with an old key
            fails once a request, so a handful is too few.

        addresses_remembered: Bound on memory. Beyond it the address that failed longest ago is forgotten: whoever
            has more addresses than that isn't slowed by counting addresses.

        window_s: Seconds that failures count, and at most twice that; 60 but in tests.

        random_share: Uniform in [0, 1), for the jitter.
    """

    def __init__(
        self,
        failures_per_minute: int = 30,
        *,
        addresses_remembered: int = 10_000,
        window_s: int = WINDOW_S,
        random_share: Callable[[], float] = random.random,
    ) -> None:
        # NOTE: the limiter's own switches (enabled, key_func) only concern its decorators.
        limiter = Limiter(
            key_func=_no_request,
            storage_uri="memory://",
            strategy="sliding-window-counter",
            key_prefix="guesses",
        )
        self._counter: RateLimiter = limiter.limiter
        self._limit: RateLimitItem = RateLimitItemPerSecond(failures_per_minute, window_s)
        self._addresses: OrderedDict[str, None] = OrderedDict()
        self._addresses_remembered = addresses_remembered
        self._random_share = random_share

    def check(self, address: Address | None) -> None:
        """
        Refuse an address with too many failures; to be called before the key is looked at.

        Also a right key is refused then: an answer that differs for a right guess would make waiting pointless.

        Args:
            address: Where the request came from; all of unknown origin count as one.

        Raises:
            RateLimited: With the seconds to wait, jittered.
        """
        if not self._addresses:
            return
        site = to_site(address)
        # Callers who never failed, nearly all, cost one look into a dictionary.
        if site not in self._addresses or self._counter.test(self._limit, site):
            return
        reset_at = float(self._counter.get_window_stats(self._limit, site).reset_time)
        wait_s = max(reset_at - time.time(), 1.0) * (1.0 + self._random_share() / 4)
        raise RateLimited(
            "Too many requests with an unknown API key came from this address; check the key and wait.",
            code="too_many_failures",
            retry_after_s=wait_s,
        )

    def note_failure(self, address: Address | None) -> None:
        """
        Count one missing or unknown key.

        Args:
            address: Where the request came from.
        """
        site = to_site(address)
        self._addresses[site] = None
        self._addresses.move_to_end(site)
        if len(self._addresses) > self._addresses_remembered:
            oldest, _ = self._addresses.popitem(last=False)
            self._counter.clear(self._limit, oldest)
        if self._counter.hit(self._limit, site) and not self._counter.test(self._limit, site):
            _log.warning("too many failures to authenticate from %s", site)

    def __len__(self) -> int:
        return len(self._addresses)


def to_site(address: Address | None) -> str:
    """
    Name what failures are counted by.

    Args:
        address: IPv4, IPv6 or unknown.

    Returns:
        The IPv4 address, the IPv6 /64, or ``unknown``.
    """
    if address is None:
        return "unknown"
    if address.version == 4:  # noqa: PLR2004 - the protocol's own number
        return str(address)
    return f"{int(address) >> IPV6_SITE_BITS:x}/{IPV6_SITE_BITS}"


def _no_request() -> str:
    """Stand in for slowapi's way to read a key from a request, which nothing here uses."""
    raise NotImplementedError
