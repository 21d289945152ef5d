"""
Script calls to a Redis Cluster: each goes to the primary of its keys' slot, with that one's next round trip.

* A slot that moved answers MOVED and has done nothing: the map is read again and the call sent once more.
* A server that failed isn't asked for a second, so that one dead node costs its callers one wait and not each of them.
* Everything else that goes wrong is a lost count, as with a single server.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from redis.asyncio import Redis
from redis.crc import REDIS_CLUSTER_HASH_SLOTS, key_slot
from redis.exceptions import AskError, MovedError, ResponseError

from facade.access.round_trips import RoundTrips, Script, SharedCountLost
from facade.cache.redis_nodes import connect, send_command
from facade.cache.redis_routes import ClusterAddress, SlotRange, parse_slot_map

POOL_SIZE = 2
"""Connections to a node: one that works, and one while a broken one is being closed."""

REST_S = 1.0
"""Seconds for which a node that failed isn't asked."""

MAP_PAUSE_S = 0.2
"""Least seconds between two readings of the map."""

KEY_TRIES = 10_000
"""Names tried to find one in a node's slots; a node with a hundredth of them is missed once in 10^43."""


class Lane:
    """
    The way to one node.

    Args:
        trips: Closed by whoever holds the map.
    """

    def __init__(self, trips: RoundTrips) -> None:
        self.trips = trips
        self.rests_until = 0.0


class Parcel:
    """One call, however often it is sent."""

    __slots__ = ("answer", "arguments", "keys", "may_move", "script")

    def __init__(self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]) -> None:
        self.script = script
        self.keys = keys
        self.arguments = arguments
        self.answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.may_move = True

    def lose(self, reason: str, cause: BaseException | None = None) -> None:
        """Tell whoever waits that nothing came of it."""
        if not self.answer.done():
            lost = SharedCountLost(reason)
            lost.__cause__ = cause
            self.answer.set_exception(lost)


class ClusterTrips:
    """
    The ways to all primaries of a cluster; used as `RoundTrips` is.

    Args:
        url: ``redis+cluster://[user:password@]host:port[,host:port...]``; the hosts named are only asked for the map.

        scripts: All that will be called.

        timeout_s: Seconds for a round trip to one node, connecting included, and for reading the map.
    """

    def __init__(self, url: str, scripts: Sequence[Script], *, timeout_s: float) -> None:
        self._address = ClusterAddress.parse(url)
        self._scripts = scripts
        self._timeout_s = timeout_s
        self._lanes: dict[str, Lane] = {}
        self._slots: list[Lane | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        self._waiting: list[Parcel] = []
        self._reading: asyncio.Task[None] | None = None
        self._next_reading_at = 0.0
        self._asked: set[asyncio.Task[list[SlotRange]]] = set()

    def call(
        self, script: Script, keys: Sequence[str], arguments: Sequence[str | int]
    ) -> asyncio.Future[object]:
        """
        Send one call to the node of its keys; see `RoundTrips.call`.

        Args:
            script: What to run.

            keys: Its KEYS, all in one slot.

            arguments: Its ARGV.

        Returns:
            A future of its answer, or of `SharedCountLost`.
        """
        parcel = Parcel(script, keys, arguments)
        if self._lanes:
            self._send(parcel)
        else:
            self._wait_for_map(parcel)
        return parcel.answer

    async def call_everywhere(self, script: Script, key: str, arguments: Sequence[str | int]) -> None:
        """
        Run a script on every primary, also on those that rest.

        Args:
            script: What to run.

            key: What its one key begins with.

            arguments: Its ARGV.

        Raises:
            SharedCountLost: If one of them doesn't answer, or nobody tells the map.
        """
        # Read afresh: this is called when something failed, and another server may have taken over.
        reading = self._start_reading()
        if reading is not None:
            await asyncio.wait([reading])
        if not self._lanes or None in self._slots:
            raise SharedCountLost("the cluster's map isn't known, or has slots that nobody serves")
        names: dict[Lane, str] = {}
        for number in range(KEY_TRIES):
            name = f"{key}:{number}"
            lane = self._slots[key_slot(name.encode())]
            if lane is not None:
                names.setdefault(lane, name)
            if len(names) == len(self._lanes):
                break
        calls = [lane.trips.call(script, (name,), arguments) for lane, name in names.items()]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for lane, answer in zip(names, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            lane.rests_until = 0.0

    async def aclose(self) -> None:
        """Send what still waits, within one timeout, and close the connections."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        if self._asked:
            await asyncio.wait(self._asked)
        await asyncio.gather(*(lane.trips.aclose() for lane in self._lanes.values()))

    def _send(self, parcel: Parcel) -> None:
        lane = self._slots[key_slot(parcel.keys[0].encode())]
        if lane is None:
            self._start_reading()
            parcel.lose("no node serves this slot")
        elif time.monotonic() < lane.rests_until:
            parcel.lose("the node of this slot failed a moment ago")
        else:
            sent = lane.trips.call(parcel.script, parcel.keys, parcel.arguments)
            sent.add_done_callback(partial(self._settle, parcel, lane))

    def _settle(self, parcel: Parcel, lane: Lane, sent: asyncio.Future[object]) -> None:
        lost = sent.exception()
        if lost is None:
            if not parcel.answer.done():
                parcel.answer.set_result(sent.result())
            return
        cause = lost.__cause__
        if isinstance(cause, MovedError) and parcel.may_move:
            parcel.may_move = False
            self._wait_for_map(parcel)
            return
        if not isinstance(cause, ResponseError):
            lane.rests_until = time.monotonic() + REST_S
        if not isinstance(cause, ResponseError) or isinstance(cause, AskError):
            self._start_reading()
        parcel.lose(str(lost), cause)

    def _wait_for_map(self, parcel: Parcel) -> None:
        if self._start_reading() is None:
            parcel.lose("the cluster's map was read a moment ago and doesn't help")
        else:
            self._waiting.append(parcel)

    def _start_reading(self) -> asyncio.Task[None] | None:
        """Read the map, once at a time and not all the time."""
        if self._reading is not None and not self._reading.done():
            return self._reading
        if time.monotonic() < self._next_reading_at:
            return None
        self._next_reading_at = time.monotonic() + MAP_PAUSE_S
        self._reading = asyncio.create_task(self._read_map(), name="quota-cluster-map")
        return self._reading

    async def _read_map(self) -> None:
        """Ask all known nodes and seeds at once, take the first answer, and send on what waited for it."""
        try:
            asked = [
                asyncio.create_task(self._ask_for_map(address))
                for address in dict.fromkeys((*self._lanes, *self._address.seeds))
            ]
            # Those that answer later end by themselves: one that is cancelled while it closes stays open.
            self._asked.update(asked)
            for task in asked:
                task.add_done_callback(self._asked.discard)
            for answer in asyncio.as_completed(asked):
                if ranges := await answer:
                    await self._adopt(ranges)
                    break
        finally:
            waiting, self._waiting = self._waiting, []
            for parcel in waiting:
                self._send(parcel) if self._lanes else parcel.lose("no server tells the cluster's map")

    async def _ask_for_map(self, address: str) -> list[SlotRange]:
        client = self._connect(address)
        try:
            async with asyncio.timeout(self._timeout_s):
                return parse_slot_map(await send_command(client, "CLUSTER", "SLOTS"), address)
        except Exception:  # noqa: BLE001  # whatever is wrong with this one, the next may know
            return []
        finally:
            await client.aclose()

    async def _adopt(self, ranges: Sequence[SlotRange]) -> None:
        """Take over a new map, keep the ways to nodes that stay, close the others."""
        lanes: dict[str, Lane] = {}
        slots: list[Lane | None] = [None] * REDIS_CLUSTER_HASH_SLOTS
        for first, last, address in ranges:
            lane = lanes.get(address) or self._lanes.get(address)
            if lane is None:
                lane = Lane(RoundTrips(self._connect(address), self._scripts, timeout_s=self._timeout_s))
            lanes[address] = lane
            slots[first : last + 1] = [lane] * (last + 1 - first)
        gone = [lane for address, lane in self._lanes.items() if address not in lanes]
        self._lanes, self._slots = lanes, slots
        await asyncio.gather(*(lane.trips.aclose() for lane in gone))

    def _connect(self, address: str) -> Redis:
        return connect(
            self._address.node_url(address),
            timeout_s=self._timeout_s,
            pool_size=POOL_SIZE,
            pool_timeout_s=self._timeout_s,
        )
