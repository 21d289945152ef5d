"""
All endpoints: follows addresses, chooses who gets a call, takes out who is dead, and brings back who answers again.

Rules that a later editor must keep:

1. A call goes to the endpoint with the fewest calls of this process under way, of those that have the model's version.
2. A suspicion (a call that failed or takes too long, a look that did) is checked at once by asking the server whether
   it lives. So a server that is slow because it has much to do stays, and one that is gone loses no second call.
3. Nobody is out for good: if all are out, calls go to the one that went out first, and all are probed every second.
4. Who went out comes back through a probe, and then with one call at a time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from facade.errors import BackendUnavailable, FacadeError
from facade.triton.ejection import PROBES, TRIALS, Ejection, State
from facade.triton.endpoint import Endpoint
from facade.triton.reconcile import Statement, reconcile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Sequence
    from random import Random

    from facade.triton.addresses import AddressSource
    from facade.triton.interface import ModelDescription, TritonEndpoint

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 1.0
"""A server that lives says so in milliseconds; one that needs a second has no time for calls either."""

LOOK_TIMEOUT_S = 2.0
"""For all configs of all models, while a model keeps the processors busy."""

ALL_OUT_WAIT_S = 1.0
"""Longest time between two probes while all are out: there is nobody to spare then, and every caller waits."""


RETRY_SOON_S = 1.0
"""What callers are told to wait where nobody answers."""


class RosterObserver(Protocol):
    """Who is told what becomes of endpoints."""

    def count_ejection(self, endpoint: str, reason: str) -> None:
        """An endpoint, or a model at it, gets no calls any more: ``dead``, ``failed``, ``model-hangs`` or
        ``model-crashed``.
        """


class Roster:
    """
    The endpoints of one process.

    Args:
        source: Knows the addresses.

        connect: Makes a client of an address.

        observer: Told what becomes of endpoints.

        clock: Gives the time, in seconds.

        random: Breaks ties, and spreads waits.
    """

    def __init__(
        self,
        source: AddressSource,
        connect: Callable[[str], TritonEndpoint],
        *,
        observer: RosterObserver,
        clock: Callable[[], float],
        random: Random,
    ) -> None:
        self._source = source
        self._connect = connect
        self._observer = observer
        self._clock = clock
        self._random = random
        self._endpoints: dict[str, Endpoint] = {}
        self._tasks: dict[asyncio.Task[None], Endpoint | None] = {}
        self._checked: set[Endpoint] = set()
        self._is_following = False

    @property
    def endpoints(self) -> Collection[Endpoint]:
        """All of them."""
        return self._endpoints.values()

    @property
    def up_count(self) -> int:
        """How many get calls."""
        return sum(endpoint.ejection.state is not State.OUT for endpoint in self.endpoints)

    # Addresses...

    async def find(self) -> None:
        """Learn the addresses, and begin to follow them; if nobody can tell, what is known stays."""
        if not self._is_following and self._source.interval_s is not None:
            self._is_following = True
            self._spawn(self._follow(self._source.interval_s))
        try:
            addresses = await self._source.find()
        except OSError as error:
            log.warning("triton_addresses_unknown", extra={"error": str(error)})
            return
        # A name without addresses is a mistake of the name service more often than the end of all servers.
        if addresses:
            self._update(addresses)

    async def _follow(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            await self.find()

    def _update(self, addresses: Sequence[str]) -> None:
        for address in [*self._endpoints]:
            if address not in addresses:
                endpoint = self._endpoints.pop(address)
                log.info("triton_endpoint_gone", extra={"endpoint": address})
                for task in [task for task, of in self._tasks.items() if of is endpoint]:
                    task.cancel()
                endpoint.retire()
        make_state = partial(Ejection, clock=self._clock, uniform=self._random.uniform)
        for address in addresses:
            if address not in self._endpoints:
                log.info("triton_endpoint_new", extra={"endpoint": address})
                trouble = partial(make_state, TRIALS)
                self._endpoints[address] = Endpoint(address, self._connect, make_state(PROBES), trouble)

    # Choice...

    def choose(self, model: str, version: str, tried: Collection[Endpoint] = ()) -> Endpoint | None:
        """
        Choose who gets a call.

        Args:
            model: Which model is called.

            version: Which version; empty for any.

            tried: Who had this call already.

        Returns:
            The endpoint; None if nobody else can take it.
        """
        known = [endpoint for endpoint in self.endpoints if endpoint.has(model, version)]
        able = [endpoint for endpoint in known if endpoint not in tried and endpoint.takes(model)]
        if able:
            fewest = min(endpoint.in_flight for endpoint in able)
            return self._random.choice([endpoint for endpoint in able if endpoint.in_flight == fewest])
        if tried:
            return None
        # Nobody has it, as far as is known: Triton itself shall say so.
        candidates = known or [endpoint for endpoint in self.endpoints if endpoint.takes(model)]
        return min(candidates or self.endpoints, key=lambda one: one.ejection.out_since, default=None)

    def choose_for(self, sequence: str, model: str, version: str) -> Endpoint | None:
        """
        Choose who gets all calls of a sequence, whose state is at one endpoint: all façades choose the same one.

        Args:
            sequence: What tells it from others.

            model: Which model is called.

            version: Which version; empty for any.

        Returns:
            The endpoint; None if there is none at all.

        Source:
            Thaler and Ravishankar 1998, Using Name-Based Mappings to Increase Hit Rates, IEEE/ACM Transactions on
            Networking 6(1) ("rendezvous hashing"): when one endpoint goes, only its own sequences move.
        """
        able = [one for one in self.endpoints if one.has(model, version) and one.takes(model)]
        return max(able, key=lambda one: _place(one.address, sequence), default=None) or self.choose(
            model, version
        )

    # Suspicion, ejection, return...

    def succeed(self, endpoint: Endpoint, model: str) -> None:
        """A call of a model was answered."""
        endpoint.succeed(model)
        if endpoint.ejection.state is State.OUT:
            endpoint.wake.set()

    def fail(self, endpoint: Endpoint) -> None:
        """A call found nobody there, or was broken off."""
        if endpoint.ejection.fail():
            self._take_out(endpoint, "failed")
        else:
            self.suspect(endpoint)

    def suspect(self, endpoint: Endpoint) -> None:
        """Find out now whether an endpoint lives."""
        if endpoint.ejection.state is not State.OUT and endpoint not in self._checked:
            self._checked.add(endpoint)
            task = self._spawn(self._check(endpoint), endpoint)
            task.add_done_callback(lambda _: self._checked.discard(endpoint))

    def hang(self, endpoint: Endpoint, model: str) -> None:
        """A call of a model got no answer in time, though another endpoint gave one."""
        if endpoint.ejection.state is State.UP and endpoint.trouble_of(model).fail():
            self._note_model_out(endpoint, model, "model-hangs")

    def crash(self, endpoint: Endpoint, model: str) -> None:
        """
        The process of a model is dead. Triton goes on saying that the model is ready, and never starts another one
        (python_backend 24.10, tried): nothing but a reload or a restart helps.
        """
        if endpoint.trouble_of(model).eject():
            self._note_model_out(endpoint, model, "model-crashed")

    def _note_model_out(self, endpoint: Endpoint, model: str, reason: str) -> None:
        extra = {"endpoint": endpoint.address, "model": model, "reason": reason}
        log.warning("triton_model_out", extra=extra)
        self._observer.count_ejection(endpoint.address, reason)

    async def _check(self, endpoint: Endpoint) -> None:
        if not await endpoint.is_live(timeout_s=PROBE_TIMEOUT_S) and endpoint.ejection.eject():
            self._take_out(endpoint, "dead")

    def _take_out(self, endpoint: Endpoint, reason: str) -> None:
        """Bring an endpoint that has just gone out back some time; free the calls that others can take."""
        log.warning("triton_endpoint_out", extra={"endpoint": endpoint.address, "reason": reason})
        self._observer.count_ejection(endpoint.address, reason)
        endpoint.renew()
        for task, can_move in [*endpoint.waiting.items()]:
            if can_move():
                task.cancel()
        if endpoint.address in self._endpoints:
            self._spawn(self._bring_back(endpoint), endpoint)
        if self.up_count == 0:
            for other in self.endpoints:
                other.wake.set()

    async def _bring_back(self, endpoint: Endpoint) -> None:
        while True:
            wait_s = endpoint.ejection.wait_s
            with suppress(TimeoutError):
                async with asyncio.timeout(min(wait_s, ALL_OUT_WAIT_S) if self.up_count == 0 else wait_s):
                    await endpoint.wake.wait()
            endpoint.wake.clear()
            with suppress(FacadeError):
                if await endpoint.is_live(timeout_s=PROBE_TIMEOUT_S):
                    await endpoint.look(timeout_s=LOOK_TIMEOUT_S)
                    endpoint.ejection.admit()
                    log.info("triton_endpoint_back", extra={"endpoint": endpoint.address})
                    return
            endpoint.ejection.postpone()

    # What they serve...

    async def look(self, *, timeout_s: float) -> list[ModelDescription]:
        """
        Ask all endpoints that are not out what they serve.

        Args:
            timeout_s: Seconds until that is given up.

        Returns:
            What all serve together.

        Raises:
            FacadeError: If nobody answers.
        """
        asked = [endpoint for endpoint in self.endpoints if endpoint.ejection.state is not State.OUT]
        timeout_s = min(timeout_s, LOOK_TIMEOUT_S)
        answers = await asyncio.gather(
            *(endpoint.look(timeout_s=timeout_s) for endpoint in asked), return_exceptions=True
        )
        failures = []
        for endpoint, failure in zip(asked, answers, strict=True):
            if isinstance(failure, FacadeError):
                failures.append(failure)
                self.suspect(endpoint)
            elif failure is not None:
                raise failure
        if len(failures) == len(asked):
            raise failures[0] if failures else nobody_answers()
        return self.known_models()

    def known_models(self) -> list[ModelDescription]:
        """Give what all serve together, as far as is known."""
        return reconcile(
            [
                Statement([*(endpoint.models or {}).values()], endpoint.ejection.state is not State.OUT)
                for endpoint in self.endpoints
            ]
        )

    async def aclose(self) -> None:
        """End all that is under way, and close all connections."""
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(endpoint.aclose() for endpoint in self.endpoints))

    def _spawn(
        self, work: Coroutine[None, None, None], endpoint: Endpoint | None = None
    ) -> asyncio.Task[None]:
        # In no context: what it does belongs to no caller's trace.
        task = asyncio.get_running_loop().create_task(work, context=Context())
        self._tasks[task] = endpoint
        task.add_done_callback(self._tasks.pop)
        return task


def _place(address: str, sequence: str) -> bytes:
    return blake2b(f"{address}\0{sequence}".encode(), digest_size=8).digest()


def nobody_answers() -> BackendUnavailable:
    """Make the error of a call that no endpoint answers."""
    return BackendUnavailable("The model server can't be reached.", retry_after_s=RETRY_SOON_S)
