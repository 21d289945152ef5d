"""One call with many responses: another endpoint is asked until the first one came, and never afterwards."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

from facade.errors import BackendUnavailable, FacadeError, ModelCrashed, ModelNotFound, VersionNotReady
from facade.triton.attempts import MOST_ATTEMPTS, REASONS, Attempt
from facade.triton.roster import nobody_answers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from facade.triton.attempts import Call, Ways
    from facade.triton.endpoint import Endpoint


async def run_stream(ways: Ways, call: Call) -> AsyncGenerator[Mapping[str, bytes], None]:
    """
    Run a call that has many responses; another endpoint is asked until the first one came.

    Args:
        ways: What all calls share.

        call: What is to be run.

    Yields:
        The responses.

    Raises:
        FacadeError: What the last attempt ended with, or the stream itself.
    """
    tried: list[Endpoint] = []
    reason: str | None = None
    failure: FacadeError = nobody_answers()
    while len(tried) < MOST_ATTEMPTS and (remaining_s := call.until - ways.clock()) > 0:
        endpoint = ways.roster.choose(call.model, call.version, tried)
        if endpoint is None:
            break
        if reason is not None and not ways.budget.take():
            ways.observer.count_retry(reason, "refused")
            break
        tried.append(endpoint)
        stream = _Stream(
            ways, call, Attempt(endpoint, endpoint.begin(call.model), ways.clock(), reason), tried
        )
        try:
            async with aclosing(stream.read(remaining_s)) as responses:
                async for response in responses:
                    yield response
        except FacadeError as error:
            is_second_crash = reason == "crashed" and isinstance(error, ModelCrashed)
            reason = REASONS.get(type(error))
            if stream.has_begun or reason is None or is_second_crash:
                raise
            failure = error
        else:
            return
        finally:
            stream.end()
    raise failure


class _Stream:
    """One attempt at a stream."""

    def __init__(self, ways: Ways, call: Call, attempt: Attempt, tried: Sequence[Endpoint]) -> None:
        self._ways = ways
        self._call = call
        self._attempt = attempt
        self._tried = tried
        self._outcome = "given-up"
        self.has_begun = False

    async def read(self, timeout_s: float) -> AsyncGenerator[Mapping[str, bytes], None]:
        """Read its responses."""
        call, attempt, roster = self._call, self._attempt, self._ways.roster
        responses = attempt.line.client.stream(
            call.model, call.version, call.inputs, call.outputs, timeout_s=timeout_s, can_stop=call.can_stop
        )
        try:
            first = await self._wait_for_first(responses)
            self.has_begun = True
            roster.succeed(attempt.endpoint, call.model)
            if first is not None:
                yield first
                async for response in responses:
                    yield response
            self._outcome = "ok"
        except BackendUnavailable:
            self._outcome = "failed"
            roster.fail(attempt.endpoint)
            raise
        except FacadeError as error:
            self._outcome = "refused"
            if isinstance(error, VersionNotReady | ModelNotFound):
                attempt.endpoint.missing.add((call.model, call.version))
            elif isinstance(error, ModelCrashed):
                roster.crash(attempt.endpoint, call.model)
            raise
        finally:
            await responses.aclose()

    async def _wait_for_first(
        self, responses: AsyncGenerator[Mapping[str, bytes], None]
    ) -> Mapping[str, bytes] | None:
        """Wait in a task that the roster can cancel when it finds the endpoint dead."""

        async def step() -> Mapping[str, bytes] | None:
            return await anext(responses, None)

        task = asyncio.get_running_loop().create_task(step())
        waiting = self._attempt.endpoint.waiting
        waiting[task] = lambda: (
            self._ways.roster.choose(self._call.model, self._call.version, self._tried) is not None
        )
        try:
            await asyncio.wait({task})
        finally:
            waiting.pop(task, None)
            if not task.done():
                task.cancel()
                await asyncio.wait({task})
        if task.cancelled():
            raise nobody_answers()
        return task.result()

    def end(self) -> None:
        """Count it out."""
        attempt = self._attempt
        attempt.endpoint.end(attempt.line)
        self._ways.observer.count_attempt(attempt.endpoint.address, self._outcome)
        if attempt.reason is not None:
            outcome = "failed" if self._outcome == "refused" else self._outcome
            self._ways.observer.count_retry(attempt.reason, outcome)
