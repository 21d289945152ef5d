"""Attempts over minutes of outages, in no time: no storms, nothing lost in the counts, nobody waits in vain."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from facade.errors import BackendUnavailable, DeadlineExceeded, FacadeError
from facade.triton.addresses import FixedAddresses
from facade.triton.attempts import MOST_ATTEMPTS
from facade.triton.budget import MINIMUM_PER_S, RATIO, RESERVE
from facade.triton.interface import InferOptions
from facade.triton.pool import EndpointPool
from tests.facade.triton.scripted import Machine, ScriptedClient
from tests.facade.triton.watcher import Watcher
from tests.facade.virtual_time import run_in_no_time

NAMES = ("a:1", "b:1", "c:1")


class World:
    """Three machines, a pool in front of them, and callers."""

    def __init__(self, seed: int = 0, *, has_hedges: bool = False) -> None:
        self.machines = {name: Machine() for name in NAMES}
        self.watcher = Watcher()
        self.pool = EndpointPool(
            FixedAddresses(NAMES),
            lambda name: ScriptedClient(self.machines[name]),
            observer=self.watcher,
            has_hedges=has_hedges,
            clock=lambda: asyncio.get_running_loop().time(),
            random=Random(seed),
        )
        self.failed: list[tuple[float, FacadeError]] = []
        self.calls = 0

    async def call(self, timeout_s: float = 5.0) -> None:
        """Make a call; remember if it fails, and after how long."""
        self.calls += 1
        started = asyncio.get_running_loop().time()
        try:
            if self.calls % 4:
                await self.pool.infer("m", "1", (), (), timeout_s=timeout_s)
            else:
                async with aclosing(self.pool.stream("m", "1", (), (), timeout_s=timeout_s)) as pieces:
                    assert len([piece async for piece in pieces]) == 3
        except FacadeError as error:
            self.failed.append((asyncio.get_running_loop().time() - started, error))

    async def load(self, seconds: float, per_s: float = 20) -> None:
        """Call at a steady rate, whatever becomes of the calls, and look once a second as the catalogue does."""
        calls = []
        for index in range(int(seconds * per_s)):
            if index % per_s == 0:
                calls.append(asyncio.create_task(self.look()))
            calls.append(asyncio.create_task(self.call()))
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*calls)

    async def look(self) -> None:
        """Look what is served."""
        with suppress(FacadeError):
            await self.pool.describe_models(timeout_s=5)

    def attempts(self) -> int:
        """Count calls that reached machines or failed on the way."""
        return sum(self.watcher.attempts.values())


PHASES = st.lists(
    st.tuples(
        st.fixed_dictionaries({name: st.sampled_from(["well", "refuses", "frozen"]) for name in NAMES}),
        st.integers(min_value=1, max_value=12),
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=8, deadline=None)
@given(phases=PHASES, seed=st.integers(min_value=0, max_value=9), has_hedges=st.booleans())
def test_whatever_happens_there_is_no_storm_and_nothing_is_left(
    *, phases: list[tuple[dict[str, str], int]], seed: int, has_hedges: bool
) -> None:
    """Attempts stay within calls and budget, nobody waits past the deadline, all counts return to zero."""

    async def live() -> None:
        world = World(seed, has_hedges=has_hedges)
        await world.look()
        for states, seconds in phases:
            for name, state in states.items():
                world.machines[name].state = state
            await world.load(seconds)
        now = asyncio.get_running_loop().time()
        assert world.attempts() <= world.calls * (1 + RATIO) + RESERVE + MINIMUM_PER_S * now + 1
        assert all(took_s <= 5.01 for took_s, _ in world.failed)
        assert set(world.pool.in_flight().values()) == {0.0}
        for machine in world.machines.values():
            machine.state = "well"
        await asyncio.sleep(6)
        assert world.pool.up_count == 3
        before = len(world.failed)
        await world.load(2)
        assert len(world.failed) == before
        await world.pool.aclose()
        assert [machine.open_clients for machine in world.machines.values()] == [0, 0, 0]

    run_in_no_time(live())


def test_one_of_three_frozen_fails_nobody() -> None:
    """For a minute: everybody is answered, and the frozen one gets nothing but probes once it is found out."""

    async def live() -> None:
        world = World()
        await world.look()
        await world.load(10)
        world.machines["a:1"].state = "frozen"
        await world.load(3)
        calls, probes = world.machines["a:1"].calls, world.machines["a:1"].probes
        await world.load(60)
        assert not world.failed
        assert world.machines["a:1"].calls == calls
        assert 10 <= world.machines["a:1"].probes - probes <= 40
        await world.pool.aclose()

    run_in_no_time(live())


def test_an_outage_of_all_gives_a_fifth_more_attempts_at_the_most() -> None:
    """Two minutes of refused connections; every caller hears at once when to come back."""

    async def live() -> None:
        world = World()
        await world.look()
        for machine in world.machines.values():
            machine.state = "refuses"
        await world.load(120)
        assert len(world.failed) == world.calls
        assert all(isinstance(error, BackendUnavailable) and error.retry_after_s for _, error in world.failed)
        assert all(took_s < 0.1 for took_s, _ in world.failed)
        assert world.attempts() <= world.calls * (1 + RATIO) + RESERVE
        await world.pool.aclose()

    run_in_no_time(live())


def test_a_call_of_a_sequence_is_made_once() -> None:
    """It changes the model's state: neither an endpoint that refuses nor one that is slow has it made elsewhere."""

    async def live() -> None:
        world = World(has_hedges=True)
        await world.look()
        await world.load(3)
        options = InferOptions({"sequence_id": 7})
        for state, expected in (("frozen", DeadlineExceeded), ("refuses", BackendUnavailable)):
            for machine in world.machines.values():
                machine.state, machine.calls = state, 0
            with pytest.raises(expected):
                await world.pool.infer("m", "1", (), (), timeout_s=3, options=options)
            assert sum(machine.calls for machine in world.machines.values()) == 1
        assert set(world.pool.in_flight().values()) == {0.0}
        await world.pool.aclose()

    run_in_no_time(live())


def test_without_budget_the_first_error_stands() -> None:
    """A burst of failures uses up the reserve; then callers get the error itself, with a time to come back."""

    async def live() -> None:
        world = World()
        await world.look()
        while world.pool._ways.budget.take():
            pass
        world.machines["a:1"].state = "refuses"
        world.machines["b:1"].state = "refuses"
        await asyncio.gather(*(world.call() for _ in range(3)))
        assert world.failed
        assert world.watcher.retries["unavailable", "refused"] >= 1
        await world.pool.aclose()

    run_in_no_time(live())


def test_a_call_has_few_attempts_however_many_endpoints_fail() -> None:
    """Where three endpoints don't answer, the fourth isn't asked."""

    async def live() -> None:
        machines = {f"{index}:1": Machine() for index in range(6)}
        watcher = Watcher()
        pool = EndpointPool(
            FixedAddresses(tuple(machines)),
            lambda name: ScriptedClient(machines[name]),
            observer=watcher,
            clock=lambda: asyncio.get_running_loop().time(),
        )
        await pool.describe_models(timeout_s=5)
        for machine in machines.values():
            machine.state = "refuses"
        try:
            await pool.infer("m", "1", (), (), timeout_s=5)
        except BackendUnavailable:
            assert sum(watcher.attempts.values()) == MOST_ATTEMPTS
        else:
            raise AssertionError("nobody could have answered")
        await pool.aclose()

    run_in_no_time(live())
