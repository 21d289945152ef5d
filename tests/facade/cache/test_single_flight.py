"""Those who want the same thing at once share one computation, and only that."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from facade.cache.single_flight import SingleFlight, Work
from facade.errors import BackendUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from facade.cache.single_flight import Flight


async def wait_for(flights: SingleFlight[str], flight: Flight[str]) -> str:
    """Wait as a caller does: without ending the flight when leaving."""
    with flights.attending([flight]):
        await asyncio.wait([flight.future])
    return flight.future.result()


def landing(
    flights: SingleFlight[str], gate: asyncio.Event, ended: list[str]
) -> Callable[[Work[str]], Coroutine[None, None, None]]:
    """A work that lands each key's own name once *gate* opens, and notes how it ended."""

    async def run(work: Work[str]) -> None:
        try:
            await gate.wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        for flight in work.flights.values():
            flights.land(flight, flight.key.decode())
        ended.append("landed")

    return run


def test_all_who_wait_get_the_one_result() -> None:
    """A flight can be joined until it lands, and not later."""

    async def run() -> None:
        flights: SingleFlight[str] = SingleFlight()
        gate, ended = asyncio.Event(), []
        work = flights.start([b"a", b"b"], landing(flights, gate, ended))
        found = flights.find(b"b")
        assert found is work.flights[b"b"]
        waiting = [asyncio.create_task(wait_for(flights, found)) for _ in range(3)]
        await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*waiting) == ["b", "b", "b"]
        assert ended == ["landed"]
        assert flights.find(b"b") is None
        assert len(flights) == 0

    asyncio.run(run())


def test_one_who_leaves_ends_nothing_and_the_last_one_does() -> None:
    """The work goes on while somebody waits for any of its keys; a cancelled one can't be joined."""

    async def run() -> None:
        flights: SingleFlight[str] = SingleFlight()
        gate, ended = asyncio.Event(), []
        work = flights.start([b"a", b"b"], landing(flights, gate, ended))
        first = asyncio.create_task(wait_for(flights, work.flights[b"a"]))
        second = asyncio.create_task(wait_for(flights, work.flights[b"b"]))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait([first])
        await asyncio.sleep(0)
        assert ended == []
        assert flights.find(b"a") is not None
        second.cancel()
        await asyncio.wait([second])
        assert flights.find(b"a") is None
        assert work.task is not None
        await asyncio.wait([work.task])
        assert ended == ["cancelled"]

    asyncio.run(run())


def test_a_cancelled_work_does_not_take_a_newer_flight_down() -> None:
    """The same key flies again while the old work is still ending."""

    async def run() -> None:
        flights: SingleFlight[str] = SingleFlight()
        gate, ended = asyncio.Event(), []
        old = flights.start([b"a"], landing(flights, gate, ended))
        with flights.attending(old.flights.values()):
            await asyncio.sleep(0)
        new = flights.start([b"a"], landing(flights, gate, ended))
        waiting = asyncio.create_task(wait_for(flights, new.flights[b"a"]))
        assert old.task is not None
        await asyncio.wait([old.task])
        assert flights.find(b"a") is new.flights[b"a"]
        gate.set()
        assert await waiting == "a"

    asyncio.run(run())


def test_a_failure_goes_to_all_who_wait_and_is_not_remembered() -> None:
    """What a work raises fails all its keys; the next to ask starts anew."""

    async def run() -> None:
        flights: SingleFlight[str] = SingleFlight()

        async def fail(_work: Work[str]) -> None:
            raise LookupError("no")

        work = flights.start([b"a", b"b"], fail)
        waiting = [asyncio.create_task(wait_for(flights, flight)) for flight in work.flights.values()]
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, LookupError)
        assert flights.find(b"a") is None

    asyncio.run(run())


def test_a_key_that_a_work_forgets_fails() -> None:
    """Nobody waits for ever because of a bug."""

    async def run() -> None:
        flights: SingleFlight[str] = SingleFlight()

        async def forget(work: Work[str]) -> None:
            flights.land(work.flights[b"a"], "a")

        work = flights.start([b"a", b"b"], forget)
        assert await wait_for(flights, work.flights[b"a"]) == "a"
        with pytest.raises(RuntimeError, match="bug"):
            await wait_for(flights, work.flights[b"b"])

    asyncio.run(run())


@pytest.mark.parametrize("turns", [0, 3])
def test_closing_tells_those_who_wait(turns: int) -> None:
    """Also those whose work has not begun."""

    async def run() -> None:
        flights: SingleFlight[str] = SingleFlight()
        work = flights.start([b"a"], landing(flights, asyncio.Event(), []))
        waiting = asyncio.create_task(wait_for(flights, work.flights[b"a"]))
        for _ in range(turns):
            await asyncio.sleep(0)
        await flights.aclose()
        with pytest.raises(BackendUnavailable):
            await waiting

    asyncio.run(run())
