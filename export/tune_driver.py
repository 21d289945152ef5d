"""
Have a Triton load candidates from the scratch repository, and measure them with requests.

A candidate is two models under a slot's name. Two slots can be loaded side by side, so the last comparison needs no
reloading between its rounds: an idle model takes memory, and no time.

Measured is in a closed loop: so many callers, each of which waits for its answer and asks again.
"""

import asyncio
import itertools
import math
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np

from export.errors import BadInput
from export.options import CORE_SUFFIX
from export.tune_files import Scratch
from export.tune_search import Measurement
from export.tune_settings import Served
from export.tune_traffic import Traffic

FIRST_CALLERS = 16
"""Callers at once that are tried first; more if the target is met, fewer if not."""

MORE_CALLERS, FEWER_CALLERS = (64, 128), (4, 1)
"""What is tried after them, in order."""

REQUEST_TIMEOUT_S = 30.0
"""Seconds for one answer; a candidate that takes longer is out."""

LOAD_TIMEOUT_S = 300.0
"""Seconds for the loading of one candidate."""

_LOST = Measurement(0.0, math.inf)


class CandidateFailed(BadInput):
    """A candidate could not be loaded, or didn't answer; the message is Triton's."""


class Driver:
    """
    Loads candidates and measures them.

    Args:
        address: ``host:port`` of the Triton's gRPC endpoint.

        scratch: The repository that it serves.

        traffic: What is sent.

        p99_ms: The target.
    """

    def __init__(self, address: str, scratch: Scratch, traffic: Traffic, p99_ms: float) -> None:
        self._address = address
        self._scratch = scratch
        self._p99_ms = p99_ms
        self._runner = asyncio.Runner()
        self._requests = [_make_inputs(request) for request in traffic.requests]
        self._client: Any = None

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._runner.run(self._connect())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            self._runner.run(self._client.close())
        self._runner.__exit__(kind, error, trace)

    def load(self, slot: str, served: Served) -> None:
        """
        Serve a candidate in place of what the slot served.

        Args:
            slot: The slot.

            served: How the candidate is served.

        Raises:
            CandidateFailed: If Triton can't load it.
        """
        self._runner.run(self._load(slot, served))

    def check(self, slot: str) -> None:
        """
        Send every request once, so that one that the model refuses is told before anything is measured.

        Args:
            slot: What answers.

        Raises:
            CandidateFailed: If one is refused; the message says which.
        """
        self._runner.run(self._check(slot))

    def measure(self, slot: str, window_s: float) -> Measurement:
        """
        Find the most items a second within the target.

        Args:
            slot: What answers.

            window_s: Seconds for each number of callers.

        Returns:
            The best; if the target was never met, what came nearest to it.
        """
        tried: dict[int, Measurement] = {}

        def meets(callers: int) -> bool:
            tried[callers] = self._drive(slot, callers, window_s)
            return tried[callers].p99_ms <= self._p99_ms

        last, is_met = FIRST_CALLERS, meets(FIRST_CALLERS)
        for callers in MORE_CALLERS if is_met else FEWER_CALLERS:
            if meets(callers) != is_met:
                meets(
                    round(math.sqrt(last * callers))
                )  # between the one that met the target and the one that didn't
                break
            last = callers
        met = [one for one in tried.values() if one.p99_ms <= self._p99_ms]
        if not met:
            return min(tried.values(), key=lambda one: one.p99_ms)
        return max(met, key=lambda one: one.items_per_s)

    def _drive(self, slot: str, callers: int, window_s: float) -> Measurement:
        try:
            return self._runner.run(self._call_for(slot, callers, window_s))
        except CandidateFailed:
            return _LOST

    async def _connect(self) -> None:
        from tritonclient.grpc import aio  # noqa: PLC0415 - takes a fifth of a second

        self._client = aio.InferenceServerClient(self._address)

    async def _load(self, slot: str, served: Served) -> None:
        names = (slot, slot + CORE_SUFFIX)
        with _told(f"'{slot}' could not be loaded"):
            index = await self._client.get_model_repository_index(client_timeout=REQUEST_TIMEOUT_S)
            states = {model.name: model.state for model in index.models}
            for name in names:  # the door first: it has nobody to ask without its core
                if states.get(name) == "READY":
                    await self._client.unload_model(name, client_timeout=LOAD_TIMEOUT_S)
            self._scratch.place(slot, served)
            for name in reversed(names):
                await self._client.load_model(name, client_timeout=LOAD_TIMEOUT_S)

    async def _check(self, slot: str) -> None:
        for first in range(0, len(self._requests), FIRST_CALLERS):
            answers = await asyncio.gather(
                *(
                    self._client.infer(slot, inputs, client_timeout=REQUEST_TIMEOUT_S)
                    for inputs in self._requests[first : first + FIRST_CALLERS]
                ),
                return_exceptions=True,
            )
            for number, answer in enumerate(answers, first + 1):
                with _told(f"Request {number} of the traffic was refused"):
                    if isinstance(answer, BaseException):
                        raise answer

    async def _call_for(self, slot: str, callers: int, window_s: float) -> Measurement:
        """Keep so many callers busy; the first answer of each isn't counted."""
        latencies_ms: list[float] = []
        # Every window begins with the same requests, so that candidates get the same work.
        queue = itertools.cycle(self._requests)
        started = time.perf_counter() + window_s / 10
        ends = started + window_s

        async def call() -> None:
            while True:
                sent = time.perf_counter()
                if sent >= ends and latencies_ms:
                    return
                await self._client.infer(slot, next(queue), client_timeout=REQUEST_TIMEOUT_S)
                done = time.perf_counter()
                if sent >= started:
                    latencies_ms.append((done - sent) * 1000)

        with _told(f"'{slot}' failed"):
            async with asyncio.TaskGroup() as group:
                for _ in range(callers):
                    group.create_task(call())
        elapsed_s = time.perf_counter() - started
        return Measurement(len(latencies_ms) / elapsed_s, percentile(latencies_ms, 0.99))


def percentile(values: Sequence[float], share: float) -> float:
    """
    Read a percentile: the smallest value that so many are no larger than.

    Args:
        values: At least one.

        share: Such as 0.99.

    Returns:
        The value.
    """
    return sorted(values)[math.ceil(share * len(values)) - 1]


def _make_inputs(request: dict[str, bytes]) -> list[Any]:
    """Make a request's tensors, each of shape (1, 1)."""
    from tritonclient import grpc as triton  # noqa: PLC0415 - as above

    tensors = []
    for name, content in request.items():
        tensor = triton.InferInput(name, [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[content]], dtype=np.object_))
        tensors.append(tensor)
    return tensors


class _told:  # noqa: N801 - used like a function
    """Turn the client's errors, also those of a group of tasks, into a sentence."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from tritonclient.utils import InferenceServerException  # noqa: PLC0415 - as above

        first: BaseException | None = error
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if isinstance(first, InferenceServerException):
            reason = " ".join(str(first.message() or first).split())
            raise CandidateFailed(f"{self._what}: {reason[:600]}") from first
