"""
A load that doesn't wait for answers: requests arrive as a Poisson process, whatever the server makes of them.

A program of its own, as `generator` is: reads an `OpenLoad` as JSON from stdin, writes ``{"event": "begins"}`` and
``{"event": "ends"}`` around the measured seconds, and then its `OpenResult`. Each request is sent once. Latency is
taken from the time that the request was due, so that a generator that falls behind makes figures worse and not better,
and also from its sending.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import sys
import time
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

from tests.load.client import AnswerUnreadable, Connection, make_request
from tests.load.dialects import DIALECTS
from tests.load.generator import MAX_REASONS, REFUSALS, check_vectors, say
from tests.load.texts import make_texts, read_words

CHECK_EVERY = 50
"""One answer in so many is decoded and its vector's length checked."""


@dataclass(frozen=True)
class OpenLoad:
    """What to send, where, and how often."""

    address: str
    """``host:port``."""

    model: str
    """The model's name."""

    tokenizer_file: str
    """Where words come from."""

    traffic: str
    """Kind of texts, see `texts.TRAFFIC`."""

    seed: str
    """Fixes arrivals and the texts' lengths."""

    rate_per_s: float
    """Mean arrivals a second."""

    warmup_s: float
    """Seconds before the measured ones."""

    measure_s: float
    """Seconds measured."""

    headers: dict[str, str]
    """HTTP headers."""

    contender: str = "open loop"
    """Fixes, with the seed, the words."""

    connections: int = 256
    """Opened before the start, so that connecting is no part of what is measured; more are opened if need be."""

    dimension: int = 384
    """Components of a vector."""

    dialect: str = "openai"
    """How vectors are asked for, see `dialects.DIALECTS`."""

    most_connections: int | None = None
    """Beyond so many a request waits for a free one, and its latency grows; None for no bound."""

    drain_s: float = 60.0
    """Seconds after the last arrival in which answers may still come."""


@dataclass
class OpenResult:
    """What happened to requests that were due within the measured seconds."""

    measured_s: float = 0.0
    """How long they really were."""

    due: int = 0
    """Requests."""

    answered_in_time: int = 0
    """Answers with 200 that arrived within the measured seconds, whenever they were due."""

    admitted_due_ms: list[float] = field(default_factory=list)
    """Latencies of 200s since they were due."""

    admitted_sent_ms: list[float] = field(default_factory=list)
    """The same since they were sent."""

    unanswered_due_ms: list[float] = field(default_factory=list)
    """Ages of requests that had no answer when it was no longer waited for: their latency is larger."""

    refused_due_ms: list[float] = field(default_factory=list)
    """Latencies of 429s and 503s since they were due."""

    refused_sent_ms: list[float] = field(default_factory=list)
    """The same since they were sent."""

    without_retry_after: int = 0
    """429s and 503s without Retry-After."""

    failures: int = 0
    """Anything else, warm-up included."""

    reasons: list[str] = field(default_factory=list)
    """The first few different ones."""

    cpu_s: float = 0.0
    """CPU time of the generator itself."""

    connections: int = 0
    """Connections opened in all."""


class OpenLoop:
    """
    Sends requests when they are due.

    Args:
        spec: What.
    """

    def __init__(self, spec: OpenLoad) -> None:
        self._spec = spec
        self._idle: list[Connection] = []
        self._is_measuring = False
        self._checked = 0
        self._free = (
            nullcontext() if spec.most_connections is None else asyncio.Semaphore(spec.most_connections)
        )
        self.result = OpenResult()

    async def run(self) -> OpenResult:
        """
        Send everything and wait for all answers.

        Returns:
            What happened.
        """
        spec = self._spec
        total_s = spec.warmup_s + spec.measure_s
        due_s = draw_arrivals(spec.rate_per_s, total_s, spec.seed)
        words = read_words(Path(spec.tokenizer_file))
        texts = islice(make_texts(words, spec.traffic, spec.seed, spec.contender), len(due_s))
        dialect = DIALECTS[spec.dialect]
        path = dialect.request_path(spec.model)
        requests = [
            make_request(spec.address, path, spec.headers, dialect.body(spec.model, [text])) for text in texts
        ]
        for _ in range(spec.connections):
            self._idle.append(await self._connect())
        gc.collect()
        gc.disable()  # nothing here makes cycles, and a pause would look like the server's
        started = time.perf_counter()
        timer = asyncio.create_task(self._measure(started))
        tasks = []
        for due, request in zip(due_s, requests, strict=True):
            if (wait_s := started + due - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            tasks.append(
                asyncio.create_task(self._send(request, started + due, is_counted=due >= spec.warmup_s))
            )
        _, waiting = await asyncio.wait([timer, *tasks], timeout=spec.drain_s)
        for task in waiting:
            task.cancel()
        await asyncio.gather(timer, *tasks)
        gc.enable()
        for connection in self._idle:
            connection.close()
        return self.result

    async def _measure(self, started: float) -> None:
        await asyncio.sleep(started + self._spec.warmup_s - time.perf_counter())
        say({"event": "begins"})
        cpu_before_s, began = time.process_time(), time.perf_counter()
        self._is_measuring = True
        await asyncio.sleep(self._spec.measure_s)
        self._is_measuring = False
        self.result.measured_s = time.perf_counter() - began
        self.result.cpu_s = time.process_time() - cpu_before_s
        say({"event": "ends"})

    async def _send(self, request: bytes, due: float, *, is_counted: bool) -> None:
        self.result.due += is_counted
        try:
            async with self._free:
                await self._exchange(request, due, is_counted=is_counted)
        except (AnswerUnreadable, OSError) as error:
            self._fail(str(error))
        except asyncio.CancelledError:
            if is_counted:
                self.result.unanswered_due_ms.append((time.perf_counter() - due) * 1000)

    async def _exchange(self, request: bytes, due: float, *, is_counted: bool) -> None:
        result = self.result
        connection = await self._take()
        sent = time.perf_counter()
        answer = await connection.exchange(request)
        ended = time.perf_counter()
        due_ms, sent_ms = (ended - due) * 1000, (ended - sent) * 1000
        self._idle.append(connection)
        if answer.status == 200:
            result.answered_in_time += self._is_measuring
            self._checked += 1
            if self._checked % CHECK_EVERY == 1:
                self._check(connection.head, answer.body)
            if is_counted:
                result.admitted_due_ms.append(due_ms)
                result.admitted_sent_ms.append(sent_ms)
        elif answer.status in REFUSALS:
            if is_counted:
                result.refused_due_ms.append(due_ms)
                result.refused_sent_ms.append(sent_ms)
            result.without_retry_after += b"retry-after:" not in connection.head.lower()
        else:
            self._fail(f"{answer.status}: {answer.body[:300]!r}")

    def _check(self, head: bytes, body: bytes) -> None:
        dialect = DIALECTS[self._spec.dialect]
        if fault := check_vectors(dialect, head, body, 1, self._spec.dimension):
            self._fail(fault)

    async def _take(self) -> Connection:
        # Servers hang up on who is idle for long, as they may.
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        return await self._connect()

    async def _connect(self) -> Connection:
        self.result.connections += 1
        host, port = self._spec.address.rsplit(":", 1)
        return await Connection.open(host, int(port))

    def _fail(self, reason: str) -> None:
        self.result.failures += 1
        if len(self.result.reasons) < MAX_REASONS and reason not in self.result.reasons:
            self.result.reasons.append(reason)


def draw_arrivals(rate_per_s: float, seconds: float, seed: str) -> list[float]:
    """
    Draw the times of a Poisson process.

    Args:
        rate_per_s: Mean arrivals a second.

        seconds: How long.

        seed: Fixes them.

    Returns:
        Times in seconds, ascending, all below *seconds*.
    """
    source = random.Random(f"{seed} arrivals")
    times: list[float] = []
    at_s = source.expovariate(rate_per_s)
    while at_s < seconds:
        times.append(at_s)
        at_s += source.expovariate(rate_per_s)
    return times


def main() -> None:
    """Read what to send, send it, write what happened."""
    import uvloop  # noqa: PLC0415

    spec = OpenLoad(**json.load(sys.stdin))
    say(asdict(uvloop.run(OpenLoop(spec).run())))


if __name__ == "__main__":
    main()
