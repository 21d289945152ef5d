"""
Where keys go: to one Redis, or to the nodes of a Redis Cluster.

Why not redis-py's own cluster client: a connection that fails to open is lost to its bounded pool, so that it
answers "too many connections" for ever after an outage; it retries; and one dead node fails a whole lookup. For a
cache it is enough to send each key to the node of its slot, and to take a moved slot for a miss while the map is
read again.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, Self

from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, ClusterDownError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError

from facade.cache.lane import NodeUnavailable, Reply, Wait
from facade.cache.observer import CacheObserver
from facade.cache.redis_nodes import Command, RedisLimits, RedisNode, connect, send_command

CLUSTER_SCHEMES = ("redis+cluster", "rediss+cluster")
"""URL schemes that name a cluster: ``redis+cluster://host:port,host:port``."""

_REFRESH_PAUSE_S = 0.5
"""Least seconds between two readings of a cluster's map; a cluster that moves slots would have us read all day."""


class SlotRange(NamedTuple):
    """Which server holds which slots of a cluster."""

    first: int
    """First slot."""

    last: int
    """Last slot."""

    address: str
    """``host:port`` of the primary."""


class ClusterAddress(NamedTuple):
    """A cluster's URL in its parts."""

    prefix: str
    """What stands before a node's address: scheme and login."""

    seeds: tuple[str, ...]
    """``host:port`` of servers that know the map."""

    suffix: str
    """What stands behind: options."""

    @classmethod
    def parse(cls, url: str) -> Self:
        """Take ``redis+cluster://[user:password@]host:port[,host:port...][/options]`` apart."""
        scheme, _, rest = url.partition("+cluster://")
        hosts, slash, options = rest.partition("/")
        login, at, addresses = hosts.rpartition("@")
        return cls(f"{scheme}://{login}{at}", tuple(addresses.split(",")), slash + options)

    def node_url(self, address: str) -> str:
        """URL of one of the cluster's servers."""
        return f"{self.prefix}{address}{self.suffix}"


class Route(Protocol):
    """Where keys go: one server or many."""

    async def get(self, keys: Sequence[bytes], wait: Wait | None = None) -> list[Reply]:
        """Look up all *keys* in one round trip."""

    async def send(self, commands: Sequence[Command], wait: Wait | None = None) -> list[Reply]:
        """Send all *commands* in one round trip; see `RedisNode.pipeline`."""

    async def aclose(self) -> None:
        """Close all connections."""


class SingleRoute:
    """All keys go to one server: a Redis, or a proxy that hides a cluster."""

    def __init__(self, url: str, limits: RedisLimits, observer: CacheObserver) -> None:
        self._node = RedisNode(url, limits, observer)

    async def get(self, keys: Sequence[bytes], wait: Wait | None = None) -> list[Reply]:
        """Look up all *keys* with one MGET."""
        return await self._node.mget(keys, wait)

    async def send(self, commands: Sequence[Command], wait: Wait | None = None) -> list[Reply]:
        """Send all *commands* in one pipeline."""
        return await self._node.pipeline(commands, wait)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._node.aclose()


class ClusterRoute:
    """
    Keys go to the primary that serves their slot; all nodes concerned are asked at once.

    Args:
        url: ``redis+cluster://[user:password@]host:port[,host:port...]``; the hosts named are only asked for the
            map, and each of them is enough.

        limits: Bounds on time and connections, per node.

        observer: Told about each node's breaker.
    """

    def __init__(self, url: str, limits: RedisLimits, observer: CacheObserver) -> None:
        self._limits = limits
        self._observer = observer
        self._address = ClusterAddress.parse(url)
        self._nodes: dict[str, RedisNode] = {}
        self._slots: list[RedisNode | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._refresh: asyncio.Task[None] | None = None
        self._next_refresh_at = 0.0

    async def get(self, keys: Sequence[bytes], wait: Wait | None = None) -> list[Reply]:
        """Look up all *keys*, each with its own GET: MGET refuses keys of several slots."""
        return await self.send([Command(key, ("GET", key)) for key in keys], wait)

    async def send(self, commands: Sequence[Command], wait: Wait | None = None) -> list[Reply]:
        """Send each command to the node of its key, one pipeline a node."""
        if not self._nodes:
            await self._read_map()
        replies: list[Reply] = [NodeUnavailable("no node serves this slot")] * len(commands)
        by_node: dict[RedisNode, list[int]] = {}
        for index, command in enumerate(commands):
            node = self._slots[key_slot(command.key)]
            if node is not None:
                by_node.setdefault(node, []).append(index)

        async def ask(node: RedisNode, indexes: list[int]) -> None:
            """Ask one node for its part."""
            answers = await node.pipeline([commands[index] for index in indexes], wait)
            for index, answer in zip(indexes, answers, strict=True):
                replies[index] = answer

        await asyncio.gather(*(ask(node, indexes) for node, indexes in by_node.items()))
        if any(
            isinstance(reply, AskError | ClusterDownError | RedisConnectionError) for reply in replies
        ) or (None in self._slots):
            # The map is old; this request takes it for a miss.
            self._start_refresh()
        return replies

    async def aclose(self) -> None:
        """Close all connections."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.wait([self._refresh])
        await asyncio.gather(*(node.aclose() for node in self._nodes.values()))

    async def _read_map(self) -> None:
        """Wait for the map; a caller that leaves doesn't stop the others' reading."""
        task = self._start_refresh()
        if task is not None:
            await asyncio.wait([task])

    def _start_refresh(self) -> asyncio.Task[None] | None:
        """Read the map again, once at a time and not all the time."""
        if self._refresh is not None and not self._refresh.done():
            return self._refresh
        now = time.monotonic()
        if now < self._next_refresh_at:
            return None
        self._next_refresh_at = now + _REFRESH_PAUSE_S
        self._refresh = asyncio.create_task(self._refresh_map(), name="cache-cluster-map")
        return self._refresh

    async def _refresh_map(self) -> None:
        """Ask known nodes and seeds in turn until one tells the map."""
        for address in dict.fromkeys((*self._nodes, *self._address.seeds)):
            node = self._nodes.get(address)
            asked = node or RedisNode(self._address.node_url(address), self._limits, self._observer)
            try:
                ranges = parse_slot_map(await asked.command("CLUSTER", "SLOTS"), address)
            except Exception:  # noqa: BLE001, S112  # whatever is wrong with this one, the next may know
                continue
            finally:
                if node is None:
                    await asked.aclose()
            await self._adopt(ranges)
            return

    async def _adopt(self, ranges: Sequence[SlotRange]) -> None:
        """Take over a new map, keep the connections to nodes that stay, close the others."""
        nodes: dict[str, RedisNode] = {}
        slots: list[RedisNode | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in ranges:
            node = nodes.get(address) or self._nodes.get(address)
            if node is None:
                node = RedisNode(self._address.node_url(address), self._limits, self._observer)
            nodes[address] = node
            slots[first : last + 1] = [node] * (last + 1 - first)
        gone = [node for address, node in self._nodes.items() if address not in nodes]
        self._nodes, self._slots = nodes, slots
        await asyncio.gather(*(node.aclose() for node in gone))


def is_cluster(url: str) -> bool:
    """Whether *url* names a Redis Cluster."""
    return url.partition("://")[0] in CLUSTER_SCHEMES


def open_route(url: str, limits: RedisLimits, observer: CacheObserver) -> Route:
    """The route that *url* asks for; nothing is connected yet."""
    if is_cluster(url):
        return ClusterRoute(url, limits, observer)
    return SingleRoute(url, limits, observer)


def parse_slot_map(answer: Any, asked: str) -> list[SlotRange]:
    """
    Read the answer to CLUSTER SLOTS.

    Args:
        answer: As Redis gave it.

        asked: ``host:port`` of the server that gave it; where the map names no host, it means this one.
    """
    own_host = asked.rpartition(":")[0].strip("[]")
    ranges = []
    for first, last, primary, *_replicas in answer:
        host = (primary[0] or b"").decode() or own_host
        address = f"[{host}]:{primary[1]}" if ":" in host else f"{host}:{primary[1]}"
        ranges.append(SlotRange(first, last, address))
    return ranges


async def list_primaries(url: str, stamp_key: bytes, *, timeout_s: float) -> list[tuple[str, bool]]:
    """
    Every server that holds keys.

    Args:
        url: One Redis or a cluster.

        stamp_key: A key of interest.

        timeout_s: Seconds that a server has to answer.

    Returns:
        URLs that `connect` takes, each with whether that server holds *stamp_key*.

    Raises:
        redis.exceptions.RedisError: If no server tells the cluster's map; the last one's reason.
    """
    if not is_cluster(url):
        return [(url, True)]
    address = ClusterAddress.parse(url)
    failure: Exception | None = None
    for seed in address.seeds:
        client = connect(address.node_url(seed), timeout_s=timeout_s, pool_size=1, pool_timeout_s=timeout_s)
        try:
            async with client:
                ranges = parse_slot_map(await send_command(client, "CLUSTER", "SLOTS"), seed)
        except (RedisError, OSError) as error:
            failure = error
            continue
        holders = dict.fromkeys((part.address for part in ranges), False)
        slot = key_slot(stamp_key)
        for part in ranges:
            if part.first <= slot <= part.last:
                holders[part.address] = True
        return [(address.node_url(holder), holds) for holder, holds in holders.items()]
    raise failure or ClusterDownError("no server of the cluster is named")
