"""
Each Redis: reachable, logged in, fit for what it is used for.

A cache wants a Redis that forgets the least asked when it is full; counters of quotas must not be forgotten.
Credentials are in the URL, so a finding names host and port alone.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from facade.cache.redis_nodes import connect, send_command
from facade.cache.redis_routes import ClusterAddress, is_cluster, list_primaries
from facade.doctor.bounded import explain_connection, knock, resolve
from facade.doctor.clocks import ClockSeen
from facade.doctor.finding import Finding, ok, problem, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Mapping

    from redis.asyncio import Redis

SLOW_S = 0.02
"""Round trip above which the façade no longer waits for its cache (`RedisLimits.lookup_budget_s`)."""

NEARLY_FULL = 0.9
"""Share of maxmemory above which a Redis that refuses writes when full is worth a word."""

REDIS_PORT = 6379
"""Redis's usual port."""

_MIB = 1024**2
_ROUND_TRIPS = 5


@dataclass
class RedisLook:
    """What was found at the Redis of one setting."""

    findings: list[Finding] = field(default_factory=list)
    """Some lines a server."""

    clocks: list[ClockSeen] = field(default_factory=list)
    """What time they said it is."""


async def examine_redis(setting: str, url: str | None, *, use: str, timeout_s: float) -> RedisLook:
    """
    Look at one Redis, or at each primary of a cluster.

    Args:
        setting: The environment variable that names it.

        url: Its value; None where it is unset.

        use: ``cache``, ``quotas`` or ``both``.

        timeout_s: Seconds for each step.

    Returns:
        What was found.
    """
    if url is None:
        return RedisLook(
            [skipped(setting, "not set: each process counts quotas and keeps answers for itself")]
        )
    look = RedisLook()
    if urlsplit(url).scheme == "unix":
        nodes = [(url, True)]
    else:
        for address in _seeds(url):
            look.findings += await _find_unreachable(address, setting, timeout_s)
        if look.findings and len(look.findings) == len(_seeds(url)):
            return look
        try:
            async with asyncio.timeout(2 * timeout_s * len(_seeds(url))):
                nodes = await list_primaries(url, b"doctor", timeout_s=timeout_s)
        except (RedisError, OSError, ValueError) as error:
            look.findings.append(_explain(_name(url), setting, error))
            return look
    for part in await asyncio.gather(*(_visit(node, setting, use, timeout_s) for node, _ in nodes)):
        look.findings += part.findings
        look.clocks += part.clocks
    return look


async def _find_unreachable(address: tuple[str, int], setting: str, timeout_s: float) -> list[Finding]:
    """Try name and port before redis-py does, whose resolver can hang."""
    host, port = address
    where = f"{host}:{port}"
    try:
        await knock((await resolve(host, port, timeout_s))[0], port, timeout_s)
    except OSError as error:
        remedy = f"Start Redis, or correct host and port in {setting} (redis://[user:password@]host[:{REDIS_PORT}])."
        if isinstance(error, TimeoutError):
            remedy = f"A firewall, or a machine that is down: check the address in {setting}, and the network between."
        return [problem(where, explain_connection(error), remedy)]
    return []


async def _visit(url: str, setting: str, use: str, timeout_s: float) -> RedisLook:
    """Look at one server."""
    name = _name(url)
    look = RedisLook()
    try:
        client = connect(url, timeout_s=timeout_s, pool_size=1, pool_timeout_s=timeout_s)
        async with client, asyncio.timeout(4 * timeout_s):
            round_trip_s = await _time_ping(client)
            look.clocks.append(await _read_clock(client, name))
            info = await _read_info(client)
            is_clustered = is_cluster(url) or str(info.get("cluster_enabled")) == "1"
            cluster = await _read_cluster(client) if is_clustered else {}
    except (RedisError, OSError, ValueError) as error:
        look.findings.append(_explain(name, setting, error))
        return look
    look.findings.append(_describe(name, info, round_trip_s))
    if info:
        look.findings += _examine_memory(name, info, use)
        look.findings += _examine_role(name, info, setting)
    if cluster:
        look.findings.append(_examine_cluster(name, cluster))
    return look


async def _time_ping(client: Redis) -> float:
    await send_command(client, "PING")
    took_s = []
    for _ in range(_ROUND_TRIPS):
        before = time.perf_counter()
        await send_command(client, "PING")
        took_s.append(time.perf_counter() - before)
    return sorted(took_s)[_ROUND_TRIPS // 2]


async def _read_clock(client: Redis, name: str) -> ClockSeen:
    before = time.time()
    seconds, microseconds = await send_command(client, "TIME")
    return ClockSeen(f"redis {name}", int(seconds) + int(microseconds) / 1e6, (before + time.time()) / 2)


async def _read_info(client: Redis) -> Mapping[str, Any]:
    """Ask for everything it says of itself; nothing where this user may not ask."""
    try:
        info: Mapping[str, Any] = await send_command(client, "INFO")
    except (NoPermissionError, ResponseError):
        return {}
    return info


async def _read_cluster(client: Redis) -> Mapping[str, Any]:
    try:
        answer = await send_command(client, "CLUSTER INFO")
    except (NoPermissionError, ResponseError):
        return {}
    if isinstance(answer, bytes):
        answer = dict(line.split(":", 1) for line in answer.decode().split() if ":" in line)
    return dict(answer)


def _describe(name: str, info: Mapping[str, Any], round_trip_s: float) -> Finding:
    if not info:
        return ok(
            name,
            f"answers in {round_trip_s * 1000:.1f} ms; its user may not use INFO, so nothing else is known",
        )
    used = f"{int(info.get('used_memory', 0)) / _MIB:.0f} MiB used"
    found = f"Redis {info.get('redis_version', '?')}, {used}, round trip {round_trip_s * 1000:.1f} ms"
    if round_trip_s > SLOW_S:
        remedy = (
            "Run Redis near the façade: slower answers than 20 ms aren't waited for, so the cache is no help."
        )
        return warning(name, f"{found}: too slow", remedy)
    return ok(name, found)


def _examine_memory(name: str, info: Mapping[str, Any], use: str) -> list[Finding]:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = str(info.get("maxmemory_policy", "unknown"))
    forgets = policy.startswith("allkeys-")
    if limit == 0:
        remedy = "Set one: `redis-cli CONFIG SET maxmemory 512mb`, and in redis.conf, so that it stays."
        return [warning(name, "no maxmemory: it grows until its machine has no memory left", remedy)]
    bound = f"maxmemory {limit / _MIB:.0f} MiB, {policy}"
    if use == "quotas" and forgets:
        remedy = (
            "`redis-cli CONFIG SET maxmemory-policy noeviction`: a counter that is forgotten starts at zero."
        )
        return [warning(name, f"{bound}: it may forget counters of quotas", remedy)]
    if use != "quotas" and not forgets:
        remedy = "`redis-cli CONFIG SET maxmemory-policy allkeys-lru`, and in redis.conf, so that it stays."
        found = f"{bound}: when full it keeps no new answers"
        if used > NEARLY_FULL * limit:
            return [problem(name, f"{found}, and {used / limit:.0%} is used", remedy)]
        return [warning(name, found, remedy)]
    return [ok(name, bound)]


def _examine_role(name: str, info: Mapping[str, Any], setting: str) -> list[Finding]:
    if str(info.get("loading", "0")) == "1":
        return [warning(name, "is still loading its data from disk", "Wait, then run this again.")]
    if info.get("role") == "slave":
        remedy = f"Name the primary in {setting}: {info.get('master_host')}:{info.get('master_port')}."
        return [problem(name, "is a replica, which takes no writes", remedy)]
    return []


def _examine_cluster(name: str, cluster: Mapping[str, Any]) -> Finding:
    state, slots = cluster.get("cluster_state"), cluster.get("cluster_slots_ok")
    if state != "ok":
        remedy = (
            "See which node is missing: `redis-cli CLUSTER NODES`; start it, or fail over to its replica."
        )
        return problem(name, f"cluster state {state}, {slots} of 16384 slots served", remedy)
    return ok(name, f"cluster state ok, {slots} slots, {cluster.get('cluster_known_nodes')} nodes")


def _explain(name: str, setting: str, error: Exception) -> Finding:
    """Say why a Redis that takes connections is of no use; redis-py's messages carry no password."""
    text = str(error)
    is_refused = isinstance(error, AuthenticationError) or any(
        word in text
        for word in ("NOAUTH", "WRONGPASS", "Authentication required", "invalid username-password")
    )
    if is_refused:
        remedy = f"Put the right user and password into {setting}: redis://USER:PASSWORD@host:{REDIS_PORT}."
        return problem(name, "refuses our login: user or password is missing or wrong", remedy)
    if isinstance(error, NoPermissionError):
        remedy = "Give the user what deploy/redis needs: `+@all -@admin -@dangerous +info` on ~*."
        return problem(name, f"this user may not do what the façade needs: {text}", remedy)
    if isinstance(error, TimeoutError | RedisTimeoutError):
        remedy = "Redis hangs, or something else listens there: see its log, restart it if it stays so."
        return problem(name, "takes the connection and doesn't answer", remedy)
    if "LOADING" in text:
        return warning(name, "is still loading its data from disk", "Wait, then run this again.")
    if "SSL" in text or "certificate" in text:
        remedy = f"Use rediss:// in {setting} where Redis speaks TLS, redis:// where it doesn't."
        return problem(name, f"TLS fails: {text}", remedy)
    remedy = f"Is that a Redis? Correct {setting}; a Redis with TLS needs rediss://."
    return problem(name, f"doesn't answer as a Redis does: {text or type(error).__name__}", remedy)


def _seeds(url: str) -> list[tuple[str, int]]:
    """List the addresses that a URL names."""
    seeds = ClusterAddress.parse(url).seeds if is_cluster(url) else None
    parts = [urlsplit(url)] if seeds is None else [urlsplit(f"redis://{seed}") for seed in seeds]
    return [(part.hostname or "localhost", part.port or REDIS_PORT) for part in parts]


def _name(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parts.path
