"""
Several Tritons behind the interface of one: `TritonBackend` over all endpoints.

`roster` knows the endpoints and chooses among them, `attempts` runs a call at one or more of them; here they are put
together. A façade with one fixed endpoint has no pool: it uses the client alone, and nothing of this runs.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from facade.errors import BackendUnavailable
from facade.triton.attempts import MOST_ATTEMPTS, AttemptObserver, Call, Race, Ways
from facade.triton.budget import RetryBudget
from facade.triton.ejection import State
from facade.triton.patience import Latencies
from facade.triton.roster import Roster, RosterObserver, nobody_answers
from facade.triton.streams import run_stream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from facade.errors import FacadeError
    from facade.triton.addresses import AddressSource
    from facade.triton.endpoint import Endpoint
    from facade.triton.interface import InferOptions, ModelDescription, Tensor, Topic, TritonEndpoint


class PoolObserver(AttemptObserver, RosterObserver, Protocol):
    """Who is told of endpoints and attempts."""


class EndpointPool:
    """
    A `TritonBackend` over several endpoints.

    Args:
        source: Knows their addresses.

        connect: Makes a client of an address.

        observer: Told of endpoints and attempts.

        has_hedges: Whether calls that take longer than 95 of 100 get a second copy.

        clock: Gives the time, in seconds.

        random: Breaks ties, and spreads waits.
    """

    def __init__(
        self,
        source: AddressSource,
        connect: Callable[[str], TritonEndpoint],
        *,
        observer: PoolObserver,
        has_hedges: bool = False,
        clock: Callable[[], float] = time.monotonic,
        random: Random | None = None,
    ) -> None:
        random = random or Random()  # noqa: S311  # not a secret
        self._clock = clock
        self._roster = Roster(source, connect, observer=observer, clock=clock, random=random)
        self._ways = Ways(self._roster, RetryBudget(clock), observer, clock, has_hedges)
        self._latencies: dict[str, Latencies] = {}
        self._has_asked = False

    @property
    def width(self) -> int:
        """Endpoints that share the calls; at least 1."""
        return max(1, self._roster.up_count)

    @property
    def known_count(self) -> int:
        """Endpoints that there are."""
        return len(self._roster.endpoints)

    @property
    def up_count(self) -> int:
        """Endpoints that get calls."""
        return self._roster.up_count

    def ejected(self) -> Mapping[str, float]:
        """Say of each endpoint whether it is out: 1 or 0."""
        return {one.address: float(one.ejection.state is State.OUT) for one in self._roster.endpoints}

    def in_flight(self) -> Mapping[str, float]:
        """Say of each endpoint how many calls of this process are under way there."""
        return {one.address: float(one.in_flight) for one in self._roster.endpoints}

    async def infer(
        self,
        model_name: str,
        model_version: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[str],
        *,
        timeout_s: float,
        options: InferOptions | None = None,
    ) -> Mapping[str, Tensor]:
        """Run a model once, somewhere; see `TritonBackend.infer`."""
        call = Call(model_name, model_version, inputs, outputs, self._clock() + timeout_s, options)
        if not self._has_asked:
            await self._ask_first()
        self._ways.budget.note_call()
        latencies = self._latencies.get(model_name)
        if latencies is None:
            latencies = self._latencies[model_name] = Latencies(self._clock)
        return await Race(self._ways, call, latencies).run()

    async def stream(
        self,
        model_name: str,
        model_version: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[str],
        *,
        timeout_s: float,
        can_stop: bool = False,
    ) -> AsyncGenerator[Mapping[str, bytes], None]:
        """Run a decoupled model, somewhere; see `TritonBackend.stream`."""
        until = self._clock() + timeout_s
        call = Call(model_name, model_version, inputs, outputs, until, can_stop=can_stop)
        if not self._has_asked:
            await self._ask_first()
        self._ways.budget.note_call()
        async with aclosing(run_stream(self._ways, call)) as responses:
            async for response in responses:
                yield response

    async def describe_models(self, *, timeout_s: float) -> list[ModelDescription]:
        """Ask all endpoints, and merge what they say; see `TritonBackend.describe_models`."""
        if not self._has_asked:
            await self._ask_first()
        return await self._roster.look(timeout_s=timeout_s)

    async def inspect(
        self, topic: Topic, model_name: str = "", model_version: str = "", *, timeout_s: float
    ) -> Any:
        """Ask one endpoint about itself, another one if it is away; see `TritonBackend.inspect`."""
        if not self._has_asked:
            await self._ask_first()
        tried: list[Endpoint] = []
        failure: FacadeError = nobody_answers()
        while len(tried) < MOST_ATTEMPTS:
            endpoint = self._roster.choose(model_name, model_version, tried)
            if endpoint is None:
                break
            tried.append(endpoint)
            try:
                return await endpoint.line.client.inspect(
                    topic, model_name, model_version, timeout_s=timeout_s
                )
            except BackendUnavailable as error:
                self._roster.fail(endpoint)
                failure = error
        raise failure

    async def aclose(self) -> None:
        """Close all connections; calls under way are cancelled."""
        await self._roster.aclose()

    async def _ask_first(self) -> None:
        """Learn the addresses; once is enough, unless nobody could tell."""
        await self._roster.find()
        self._has_asked = self.known_count > 0
