"""
One call made at several endpoints if it must be: who is asked second, when, and what the caller gets.

A call goes to one endpoint. Another one is asked too, at most `MOST_ATTEMPTS` in all, when

- ``unavailable``: the first can't be reached, broke off, or turned out to be dead meanwhile;
- ``version``: it hasn't the version (any more);
- ``crashed``: the process of its model died under the call;
- ``slow``: it is silent for longer than it should (`patience`); it may still win;
- ``hedge``: it takes longer than 95 of 100 calls do, where the operator wants that; it may still win.

Each of these takes a token out of the budget. What the caller sent wrongly, what the model refuses, a full queue and a
time that is over are answers, and no reason to ask anybody else. Whoever loses is cancelled, in Triton too.

A call of a sequence, which changes the state that a model keeps, is made once, at the sequence's own endpoint.

An inference has no effects otherwise, so it may run twice; text that is being generated may too, until a caller saw
its beginning.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from facade.errors import (
    BackendUnavailable,
    CallerError,
    FacadeError,
    ModelCrashed,
    ModelNotFound,
    VersionNotReady,
)
from facade.triton.patience import Latencies, second_after_s, suspect_after_s
from facade.triton.roster import nobody_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from facade.triton.budget import RetryBudget
    from facade.triton.endpoint import Endpoint, Line
    from facade.triton.interface import InferOptions, Tensor
    from facade.triton.roster import Roster

MOST_ATTEMPTS = 3
"""Of one call. Where three endpoints don't answer, the fourth won't either."""

REASONS: Mapping[type[FacadeError], str] = {
    BackendUnavailable: "unavailable",
    VersionNotReady: "version",
    ModelNotFound: "version",
    ModelCrashed: "crashed",
}
"""Why another endpoint may do better, by the error of the first."""


class AttemptObserver(Protocol):
    """Who is told of attempts."""

    def count_attempt(self, endpoint: str, outcome: str) -> None:
        """A call to an endpoint ended ``ok``, ``failed`` (it was away), ``refused`` (its answer is an error), or
        ``given-up`` (another one was faster, or the caller left).
        """

    def count_retry(self, reason: str, outcome: str) -> None:
        """A further attempt for a reason ended ``ok``, ``failed`` or ``given-up``, or was ``refused`` for want of
        budget.
        """


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be run."""

    model: str
    """The model's name."""

    version: str
    """Its version; empty for any."""

    inputs: Sequence[Tensor]
    """All inputs."""

    outputs: Sequence[str]
    """Names of the outputs wanted."""

    until: float
    """When it is given up, on the clock."""

    options: InferOptions | None = None
    """What is asked for beside the tensors."""

    can_stop: bool = False
    """Whether the model can be told to stop; of streams only."""

    @property
    def sequence(self) -> str | None:
        """The sequence that it goes on with, if it is part of one."""
        if self.options is None or not self.options.parameters:
            return None
        number = self.options.parameters.get("sequence_id")
        # Triton's "no sequence" is 0, or the empty text.
        return f"{self.model}\0{number}" if number else None


@dataclass(frozen=True, slots=True)
class Ways:
    """What all calls share."""

    roster: Roster
    """Chooses endpoints."""

    budget: RetryBudget
    """Bounds further attempts."""

    observer: AttemptObserver
    """Told of attempts."""

    clock: Callable[[], float]
    """Gives the time, in seconds."""

    has_hedges: bool
    """Whether slow calls get a second copy."""


@dataclass(eq=False, slots=True)
class Attempt:
    """A call at one endpoint."""

    endpoint: Endpoint
    """Who is asked."""

    line: Line
    """Over which connection."""

    started: float
    """When, on the clock."""

    reason: str | None
    """Why it is a further one; None for the first."""


class Race:
    """
    The attempts of one unary call.

    Args:
        ways: What all calls share.

        call: What is to be run.

        latencies: How long calls of the model take; learns from this one.
    """

    def __init__(self, ways: Ways, call: Call, latencies: Latencies) -> None:
        self._ways = ways
        self._call = call
        self._latencies = latencies
        self._running: dict[asyncio.Task[Mapping[str, Tensor]], Attempt] = {}
        self._tried: list[Endpoint] = []
        self._alarms: list[tuple[float, str]] = []
        self._failure: FacadeError = nobody_answers()

    async def run(self) -> Mapping[str, Tensor]:
        """
        Run it.

        Returns:
            The outputs of whoever answered first.

        Raises:
            FacadeError: What the last attempt ended with.
        """
        sequence = self._call.sequence
        if sequence is not None:
            return await self._run_once(sequence)
        if not self._start(None):
            raise self._failure
        self._set_alarms()
        try:
            while True:
                done, _ = await asyncio.wait(
                    self._running, timeout=self._wait_s(), return_when=asyncio.FIRST_COMPLETED
                )
                if not done:
                    self._lose_patience(self._alarms.pop(0)[1])
                    continue
                for task in done:
                    outputs = self._settle(task, self._running.pop(task))
                    if outputs is not None:
                        self._note_who_hangs()
                        return outputs
                reason = REASONS.get(type(self._failure))
                # What killed two processes may well kill a third.
                if reason is not None and not (reason == "crashed" and len(self._tried) > 1):
                    self._start(reason)
                if not self._running:
                    raise self._failure
        finally:
            self._leave_rest()

    async def _run_once(self, sequence: str) -> Mapping[str, Tensor]:
        """Run it where its sequence is."""
        call = self._call
        endpoint = self._ways.roster.choose_for(sequence, call.model, call.version)
        if endpoint is None:
            raise self._failure
        self._send(endpoint, None)
        try:
            await asyncio.wait(self._running)
            ((task, attempt),) = self._running.items()
            del self._running[task]
            outputs = self._settle(task, attempt)
            if outputs is None:
                raise self._failure
            return outputs
        finally:
            self._leave_rest()

    def _start(self, reason: str | None) -> bool:
        """Ask one more endpoint, if there is one and the budget allows it."""
        ways, call, now = self._ways, self._call, self._ways.clock()
        if len(self._tried) >= MOST_ATTEMPTS or now >= call.until:
            return False
        endpoint = ways.roster.choose(call.model, call.version, self._tried)
        if endpoint is None:
            return False
        if reason is not None and not ways.budget.take():
            ways.observer.count_retry(reason, "refused")
            return False
        self._send(endpoint, reason)
        return True

    def _send(self, endpoint: Endpoint, reason: str | None) -> None:
        call, now = self._call, self._ways.clock()
        self._tried.append(endpoint)
        line = endpoint.begin(call.model)
        task = asyncio.get_running_loop().create_task(
            line.client.infer(
                call.model,
                call.version,
                call.inputs,
                call.outputs,
                timeout_s=call.until - now,
                options=call.options,
            )
        )
        attempt = Attempt(endpoint, line, now, reason)
        self._running[task] = attempt
        if call.sequence is None:
            endpoint.waiting[task] = self._can_move
        task.add_done_callback(lambda done: _count_out(done, attempt))

    def _can_move(self) -> bool:
        """Whether another endpoint could take the call over."""
        call = self._call
        return (
            len(self._running) > 1
            or self._ways.roster.choose(call.model, call.version, self._tried) is not None
        )

    def _set_alarms(self) -> None:
        """Decide when to ask another endpoint though nothing failed."""
        now, latencies = self._ways.clock(), self._latencies
        if self._ways.has_hedges and latencies.p95_s is not None:
            self._alarms.append((now + latencies.p95_s, "hedge"))
        self._alarms.append((now + second_after_s(latencies, self._call.until - now), "slow"))

    def _wait_s(self) -> float | None:
        return max(0.0, self._alarms[0][0] - self._ways.clock()) if self._alarms else None

    def _lose_patience(self, reason: str) -> None:
        if reason == "slow":
            for attempt in self._running.values():
                self._ways.roster.suspect(attempt.endpoint)
        self._start(reason)

    def _settle(
        self, task: asyncio.Task[Mapping[str, Tensor]], attempt: Attempt
    ) -> Mapping[str, Tensor] | None:
        """Take note of how an attempt ended; its outputs if it has any."""
        ways, model = self._ways, self._call.model
        # Cancelled by the roster: the endpoint turned out to be dead.
        error = nobody_answers() if task.cancelled() else task.exception()
        if error is None:
            self._latencies.observe(ways.clock() - attempt.started)
            ways.roster.succeed(attempt.endpoint, model)
            self._note_end(attempt, "ok", "ok")
            return task.result()
        if not isinstance(error, FacadeError):
            raise error
        is_away = isinstance(error, BackendUnavailable)
        if is_away:
            ways.roster.fail(attempt.endpoint)
        elif isinstance(error, VersionNotReady | ModelNotFound):
            attempt.endpoint.missing.add((model, self._call.version))
        elif isinstance(error, ModelCrashed):
            ways.roster.crash(attempt.endpoint, model)
        self._note_end(attempt, "failed" if is_away else "refused", "failed")
        if isinstance(error, CallerError) and not isinstance(error, ModelNotFound):
            raise error
        self._failure = error
        return None

    def _note_who_hangs(self) -> None:
        """Take note of endpoints that were silent for too long while another one answered."""
        now, limit_s = self._ways.clock(), suspect_after_s(self._latencies)
        for attempt in self._running.values():
            if now - attempt.started > limit_s:
                self._ways.roster.hang(attempt.endpoint, self._call.model)

    def _leave_rest(self) -> None:
        """Cancel who lost, or all if the caller left."""
        for task, attempt in self._running.items():
            task.cancel()
            self._note_end(attempt, "given-up", "given-up")
        self._running.clear()

    def _note_end(self, attempt: Attempt, outcome: str, retry_outcome: str) -> None:
        self._ways.observer.count_attempt(attempt.endpoint.address, outcome)
        if attempt.reason is not None:
            self._ways.observer.count_retry(attempt.reason, retry_outcome)


def _count_out(task: asyncio.Task[Mapping[str, Tensor]], attempt: Attempt) -> None:
    attempt.endpoint.waiting.pop(task, None)
    attempt.endpoint.end(attempt.line)
    if not task.cancelled():
        task.exception()  # of one that lost in the moment it was cancelled, nobody asks
