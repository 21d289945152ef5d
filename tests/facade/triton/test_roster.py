"""Who gets a call, and endpoints that come and go with a name's addresses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from random import Random

from facade.errors import BackendUnavailable
from facade.triton.ejection import State
from facade.triton.roster import Roster
from tests.facade.triton.scripted import MODEL, Machine, ScriptedClient
from tests.facade.triton.watcher import Watcher
from tests.facade.virtual_time import run_in_no_time


@dataclass
class ChangingName:
    """A name service under a test's control."""

    addresses: tuple[str, ...] = ("a:1", "b:1")
    interval_s: float = 5.0
    is_broken: bool = False

    async def find(self) -> tuple[str, ...]:
        """Give the addresses of now."""
        if self.is_broken:
            raise OSError("name service is away")
        return self.addresses


class World:
    """Machines, a name, a roster."""

    def __init__(self) -> None:
        self.machines = {name: Machine() for name in ("a:1", "b:1", "c:1")}
        self.name = ChangingName()
        self.watcher = Watcher()
        self.roster = Roster(
            self.name,
            lambda address: ScriptedClient(self.machines[address]),
            observer=self.watcher,
            clock=lambda: asyncio.get_running_loop().time(),
            random=Random(1),
        )

    def addresses(self) -> list[str]:
        """List who is known."""
        return sorted(endpoint.address for endpoint in self.roster.endpoints)

    async def begin(self) -> None:
        """Find, and look."""
        await self.roster.find()
        await self.roster.look(timeout_s=1)


def test_addresses_are_followed_and_calls_under_way_end_in_peace() -> None:
    """A new address gets calls after a look; one that is gone gets none, and closes after its last call."""

    async def live() -> None:
        world = World()
        await world.begin()
        (leaving,) = [one for one in world.roster.endpoints if one.address == "a:1"]
        line = leaving.begin("m")
        world.name.addresses = ("b:1", "c:1")
        await asyncio.sleep(5.1)
        assert world.addresses() == ["b:1", "c:1"]
        assert world.machines["a:1"].open_clients == 1
        assert {world.roster.choose("m", "1").address for _ in range(20)} == {"b:1"}  # type: ignore[union-attr]
        await world.roster.look(timeout_s=1)
        assert {world.roster.choose("m", "1").address for _ in range(20)} == {"b:1", "c:1"}  # type: ignore[union-attr]
        leaving.end(line)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert world.machines["a:1"].open_clients == 0
        await world.roster.aclose()

    run_in_no_time(live())


def test_a_name_service_that_is_away_changes_nothing() -> None:
    """Neither an error nor an empty answer takes the endpoints away."""

    async def live() -> None:
        world = World()
        await world.begin()
        world.name.is_broken = True
        await asyncio.sleep(11)
        assert world.addresses() == ["a:1", "b:1"]
        world.name.is_broken, world.name.addresses = False, ()
        await asyncio.sleep(11)
        assert world.addresses() == ["a:1", "b:1"]
        await world.roster.aclose()

    run_in_no_time(live())


def test_an_endpoint_that_is_removed_while_it_is_out_is_probed_no_more() -> None:
    """Its probes end with it."""

    async def live() -> None:
        world = World()
        await world.begin()
        world.machines["a:1"].state = "refuses"
        await world.roster.look(timeout_s=1)
        await asyncio.sleep(2)
        assert world.roster.up_count == 1
        world.name.addresses = ("b:1",)
        await asyncio.sleep(5.1)
        probes = world.machines["a:1"].probes
        await asyncio.sleep(60)
        assert world.machines["a:1"].probes == probes
        await world.roster.aclose()

    run_in_no_time(live())


def test_a_trial_is_one_call_at_a_time() -> None:
    """Back from a probe, an endpoint gets a second call when it has answered the first."""

    async def live() -> None:
        world = World()
        await world.begin()
        first, second = sorted(world.roster.endpoints, key=lambda one: one.address)
        first.ejection.eject()
        first.ejection.admit()
        busy = [second.begin("m") for _ in range(3)]
        chosen = world.roster.choose("m", "1")
        assert chosen is first
        line = first.begin("m")
        assert world.roster.choose("m", "1") is second
        first.end(line)
        world.roster.succeed(first, "m")
        assert first.ejection.state is State.UP
        for line in busy:
            second.end(line)
        await world.roster.aclose()

    run_in_no_time(live())


def test_if_all_are_out_the_first_to_go_is_asked_and_then_the_next() -> None:
    """Never nobody; each failure goes to the end of the queue."""

    async def live() -> None:
        world = World()
        await world.begin()
        first, second = sorted(world.roster.endpoints, key=lambda one: one.address)
        for machine in world.machines.values():
            machine.state = "refuses"
        first.ejection.eject()
        await asyncio.sleep(0.1)
        second.ejection.eject()
        assert world.roster.choose("m", "1") is first
        await asyncio.sleep(0.1)
        world.roster.fail(first)
        assert world.roster.choose("m", "1") is second
        assert world.roster.choose("m", "1", [second]) is None
        await world.roster.aclose()

    run_in_no_time(live())


def test_versions_decide_before_load_does() -> None:
    """The only endpoint with a version gets its calls however busy it is; what nobody has, anybody may refuse."""

    async def live() -> None:
        world = World()
        world.machines["b:1"].served = [replace(MODEL, ready_versions=(1, 2))]
        await world.begin()
        (newer,) = [one for one in world.roster.endpoints if one.address == "b:1"]
        lines = [newer.begin("m") for _ in range(5)]
        assert {world.roster.choose("m", "2") for _ in range(5)} == {newer}
        assert world.roster.choose("m", "1") is not newer
        assert world.roster.choose("m", "7") is not None
        newer.missing.add(("m", "2"))
        assert world.roster.choose("m", "2", [newer]) is None
        for line in lines:
            newer.end(line)
        await world.roster.aclose()

    run_in_no_time(live())


def test_a_sequence_stays_at_its_endpoint() -> None:
    """However busy that is; when another one goes, it doesn't move; and sequences spread."""

    async def live() -> None:
        world = World()
        world.name.addresses = ("a:1", "b:1", "c:1")
        await world.begin()
        homes = {name: world.roster.choose_for(name, "m", "1") for name in map(str, range(60))}
        assert len(set(homes.values())) == 3
        (gone,) = [one for one in world.roster.endpoints if one.address == "b:1"]
        line = gone.begin("m")
        assert {name: world.roster.choose_for(name, "m", "1") for name in homes} == homes
        gone.end(line)
        gone.ejection.eject()
        for name, home in homes.items():
            assert (world.roster.choose_for(name, "m", "1") is home) == (home is not gone)
        await world.roster.aclose()

    run_in_no_time(live())


def test_nobody_known_is_said_so() -> None:
    """A name that can't be resolved at the start is an error of the service, and mends itself."""

    async def live() -> None:
        world = World()
        world.name.is_broken = True
        await world.roster.find()
        assert world.roster.choose("m", "1") is None
        try:
            await world.roster.look(timeout_s=1)
        except BackendUnavailable as error:
            assert error.retry_after_s
        else:
            raise AssertionError("there was nobody to ask")
        world.name.is_broken = False
        await asyncio.sleep(5.1)
        await world.roster.look(timeout_s=1)
        assert world.roster.up_count == 2
        await world.roster.aclose()

    run_in_no_time(live())
