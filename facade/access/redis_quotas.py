"""
Quotas counted by all replicas together, in one Redis or a Redis Cluster.

* The windows are the sliding-window counters of ``limits.aio``: its keys and its Lua, read through its storage. Its
  public calls would take four round trips a request (937 µs of CPU, measured on two cores), so its two scripts run as
  functions inside one script of ours, together with the lease: one round trip (177 µs alone, 86 µs under load), and
  a request that is refused for one limit leaves the others as they were.
* What is in flight are leases with a time to live, members of a sorted set scored by when they end, on the server's
  clock. Each process renews its own while they live; what a killed process held ends by itself.
* All keys of a caller carry one hash tag, so that a cluster keeps them on one node.
"""

import asyncio
import logging
import random
import secrets
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, cast

from limits.aio.storage import RedisStorage
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from facade.access.cluster_trips import ClusterTrips
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
from facade.access.round_trips import RoundTrips, Script, SharedCountLost
from facade.cache.redis_routes import ClusterAddress, is_cluster

_log = logging.getLogger(__name__)

KEY_PREFIX = "facade:quota"
NO_LIMIT = -1
UNREACHABLE_LIMIT = 2**53
"""Larger than any count, and exact as the double that Lua makes of it."""

POOL_SIZE = 2
"""Connections of a process: one that works, and one while a broken one is being closed."""

LATE_RELEASES = 1000
"""Releases that are kept while Redis is away; beyond that the leases' time to live has to do."""

MILLISECONDS_A_SECOND = 1000

# NOTE: each script removes something before it adds anything. Redis refuses a script's first write if that needs
# memory it doesn't have, and lets later ones pass: so a full Redis, which a cache beside us may cause, still counts.

# What the script answers first.
ADMITTED, NO_REQUESTS, NO_TOKENS, NO_PLACE = range(4)

ADMIT_BODY = """
local function numbers(window)
  return {tonumber(window[1]) or 0, window[2], tonumber(window[3]) or 0, window[4]}
end
local window_s, request_limit, cost = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local token_limit, place_limit = tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local requests, tokens = {0, 0, 0, 0}, {0, 0, 0, 0}
if request_limit >= 0 then requests = numbers(read({KEYS[1], KEYS[2]}, {window_s})) end
if token_limit >= 0 then
  tokens = numbers(read({KEYS[3], KEYS[4]}, {window_s}))
  local used = math.floor(tokens[1] * math.max(0, tokens[2]) / (window_s * 1000)) + tokens[3]
  if used >= token_limit then return {2, requests, tokens} end
end
redis.call('ZREMRANGEBYSCORE', KEYS[5], '-inf', now_ms)
if place_limit >= 0 and redis.call('ZCARD', KEYS[5]) >= place_limit then return {3, requests, tokens} end
if request_limit >= 0 then
  if not acquire({KEYS[1], KEYS[2]}, {request_limit, window_s, cost}) then return {1, requests, tokens} end
  requests[3] = requests[3] + cost
  requests[4] = redis.call('PTTL', KEYS[2])
end
redis.call('ZADD', KEYS[5], now_ms + ARGV[7], ARGV[6])
redis.call('PEXPIRE', KEYS[5], ARGV[7])
return {0, requests, tokens}
"""

# A lease that is gone was released before, or its end was decided without us: tokens are charged once.
RELEASE_BODY = """
local was_held = redis.call('ZREM', KEYS[3], ARGV[1])
if was_held == 1 and tonumber(ARGV[3]) > 0 then
  read({KEYS[1], KEYS[2]}, {ARGV[2]})
  acquire({KEYS[1], KEYS[2]}, {ARGV[4], ARGV[2], ARGV[3]})
end
return was_held
"""

RENEW_BODY = """
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], now_ms + ARGV[1], ARGV[index]) end
return redis.call('PEXPIRE', KEYS[1], ARGV[1])
"""


class Place(NamedTuple):
    """A lease as Redis knows it."""

    keys: tuple[str, ...]
    """The caller's five keys: requests before and now, tokens before and now, leases."""

    lease_id: str
    """Member of the sorted set."""


class RedisLease:
    """A place in everybody's count."""

    __slots__ = ("_charges_tokens", "_place", "_quotas", "_standing")

    def __init__(self, quotas: "RedisQuotas", place: Place, standing: Standing) -> None:
        self._quotas = quotas
        self._place: Place | None = place
        self._standing = standing
        self._charges_tokens = standing.tokens is not None

    def headers(self) -> dict[str, str]:
        """
        Write the caller's standing.

        Returns:
            ``x-ratelimit-*``.
        """
        return self._standing.headers()

    async def release(self, tokens: int = 0) -> None:
        """
        Give the place back and charge *tokens*; sent behind the caller's back, and again once a lost Redis is back.

        Args:
            tokens: True count of the answer.
        """
        place, self._place = self._place, None
        if place is not None:
            self._quotas.give_back(place, tokens if self._charges_tokens else 0)


class RedisQuotas:
    """
    Counts by key name, together with every process that uses the same Redis and prefix.

    Args:
        url: ``redis://``, ``rediss://``, ``unix://``, or ``redis+cluster://host:port,host:port``.

        timeout_s: Seconds for one round trip; a caller waits for at most two. Shorter falls back sooner, and
            mistakes a busy event loop for a lost Redis sooner.

        lease_ttl_s: Seconds after which the places of a process that died are free. Leases are renewed every third
            of it.

        window_s: Whole seconds of "a minute"; other than 60 in tests only.

        key_prefix: What the keys begin with.

        jitter: Uniform in [0, 1).
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float = 0.05,
        lease_ttl_s: float = 30.0,
        window_s: int = WINDOW_S,
        key_prefix: str = KEY_PREFIX,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._lease_ttl_s = lease_ttl_s
        self._window_s = window_s
        self._jitter = jitter
        self._storage = open_storage(url, timeout_s, key_prefix)
        functions = "\n".join(
            f"local function {name}(KEYS, ARGV)\n{_to_text(text)}\nend"
            for name, text in (
                ("acquire", self._storage.bridge.SCRIPT_ACQUIRE_SLIDING_WINDOW),
                ("read", self._storage.bridge.SCRIPT_SLIDING_WINDOW),
            )
        )
        self._admit_script = Script(functions + ADMIT_BODY)
        self._release_script = Script(functions + RELEASE_BODY)
        self._renew_script = Script(RENEW_BODY)
        scripts = [self._admit_script, self._release_script, self._renew_script]
        self._trips: RoundTrips | ClusterTrips = (
            ClusterTrips(url, scripts, timeout_s=timeout_s)
            if is_cluster(url)
            else RoundTrips(self._storage.bridge.get_connection(), scripts, timeout_s=timeout_s)
        )
        self._process_id = secrets.token_hex(6)
        self._leases_taken = 0
        self._held: dict[str, set[str]] = {}
        self._late: deque[tuple[Place, int]] = deque(maxlen=LATE_RELEASES)
        self._renewal: asyncio.Task[None] | None = None
        self.on_lost: Callable[[SharedCountLost], None] = _ignore
        """Told when a release or a renewal, for which nobody waits, was lost."""

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

            SharedCountLost: If Redis doesn't answer.
        """
        if tier.is_unlimited:
            return UNLIMITED
        place = self._new_place(key)
        arguments = (
            self._window_s,
            _or_none(tier.requests_per_minute),
            cost_requests,
            _or_none(tier.tokens_per_minute),
            _or_none(tier.max_in_flight),
            place.lease_id,
            round(self._lease_ttl_s * MILLISECONDS_A_SECOND),
        )
        try:
            answer = await self._trips.call(self._admit_script, place.keys, arguments)
        except asyncio.CancelledError:
            # The caller left; the lease may have been taken, or may be about to be, in front of this release.
            self.give_back(place, 0)
            raise
        except SharedCountLost:
            # A frozen server does what it was sent once it thaws, so the place may yet be taken.
            self._late.append((place, 0))
            raise
        verdict, requests, tokens = cast("tuple[int, list[int], list[int]]", answer)
        standing = Standing(
            self._usage(tier.requests_per_minute, requests), self._usage(tier.tokens_per_minute, tokens)
        )
        self._refuse(verdict, tier, standing, cost_requests)
        self._held.setdefault(place.keys[-1], set()).add(place.lease_id)
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._renew(), name="quota-leases")
        return RedisLease(self, place, standing)

    def give_back(self, place: Place, tokens: int) -> None:
        """
        Send a release, without waiting for it.

        Args:
            place: What to give back.

            tokens: What to charge.
        """
        *_, tokens_before, tokens_now, leases = place.keys
        held = self._held.get(leases)
        if held is not None:
            held.discard(place.lease_id)
            if not held:
                del self._held[leases]
        keys = (tokens_before, tokens_now, leases)
        arguments = (place.lease_id, self._window_s, tokens, UNREACHABLE_LIMIT)
        sent = self._trips.call(self._release_script, keys, arguments)

        def look(answer: asyncio.Future[object]) -> None:
            lost = answer.exception()
            if isinstance(lost, SharedCountLost):
                self._late.append((place, tokens))
                self.on_lost(lost)

        sent.add_done_callback(look)

    async def probe(self) -> None:
        """
        Find out whether Redis counts, by writing (a replica only reads); then send the releases that it missed.

        Raises:
            SharedCountLost: If it doesn't.
        """
        nobody = self._storage.bridge.prefixed_key("probe")
        arguments = (MILLISECONDS_A_SECOND, self._process_id)
        await self._trips.call_everywhere(self._renew_script, nobody, arguments)
        late, self._late = self._late, deque(maxlen=LATE_RELEASES)
        for place, tokens in late:
            self.give_back(place, tokens)

    async def aclose(self) -> None:
        """Send what is on its way and close the connections."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._trips.aclose()

    def _new_place(self, key: Key) -> Place:
        self._leases_taken += 1
        # NOTE: limits wraps a window's name in braces; a name that closes them early makes the key's name alone
        # the hash tag: "facade:quota:{alice}:requests}" and "facade:quota:{alice}:requests}/-1".
        names = []
        for kind in ("requests", "tokens"):
            now = self._storage.bridge.prefixed_key(f"{{{key.name}}}:{kind}}}")
            names += [f"{now}/-1", now]
        leases = self._storage.bridge.prefixed_key(f"{{{key.name}}}:leases")
        return Place((*names, leases), f"{self._process_id}-{self._leases_taken:x}")

    def _usage(self, limit: int | None, window: list[int]) -> Usage | None:
        if limit is None:
            return None
        previous, previous_ttl_ms, current, current_ttl_ms = window
        state = Window(
            previous,
            max(0, previous_ttl_ms) / MILLISECONDS_A_SECOND,
            current,
            max(0, current_ttl_ms) / MILLISECONDS_A_SECOND,
        )
        return Usage(limit, state, self._window_s)

    def _refuse(self, verdict: int, tier: Tier, standing: Standing, cost: int) -> None:
        if verdict == NO_REQUESTS and standing.requests is not None:
            raise refuse_requests(standing.requests, standing, cost, self._jitter)
        if verdict == NO_TOKENS and standing.tokens is not None:
            raise refuse_tokens(standing.tokens, standing, self._jitter)
        if verdict == NO_PLACE and tier.max_in_flight is not None:
            raise refuse_in_flight(tier.max_in_flight, standing, self._jitter)

    async def _renew(self) -> None:
        """Prolong all leases that this process holds, for ever."""
        while True:
            await asyncio.sleep(self._lease_ttl_s / 3)
            ttl_ms = round(self._lease_ttl_s * MILLISECONDS_A_SECOND)
            sent = [
                self._trips.call(self._renew_script, (leases,), (ttl_ms, *held))
                for leases, held in self._held.items()
            ]
            for answer in await asyncio.gather(*sent, return_exceptions=True):
                if isinstance(answer, SharedCountLost):
                    self.on_lost(answer)
                    break


def open_storage(url: str, timeout_s: float, key_prefix: str) -> RedisStorage:
    """
    Open ``limits``' storage on connections that fail soon; nothing is connected yet.

    Args:
        url: The server's address; of a cluster, the first one named stands for it, and isn't asked.

        timeout_s: Seconds to open a connection, to wait for an answer, and to wait for a free connection.

        key_prefix: What the keys begin with.

    Returns:
        The storage.
    """
    if is_cluster(url):
        address = ClusterAddress.parse(url)
        url = address.node_url(address.seeds[0])
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=POOL_SIZE,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
        protocol=2,
    )
    # limits looks at the scheme only once it is given a pool, and its own default client is not redis-py.
    return RedisStorage(
        "async+redis://", implementation="redispy", key_prefix=key_prefix, connection_pool=pool
    )


def _or_none(limit: int | None) -> int:
    return NO_LIMIT if limit is None else limit


def _to_text(script: str | bytes) -> str:
    return script.decode() if isinstance(script, bytes) else script


def _ignore(_lost: SharedCountLost) -> None:
    """Nobody wants to know."""
