"""
The load generator: a program of its own, so that it shares no interpreter lock with what is measured.

Closed loop: *concurrency* callers, each of whom sends the next text as soon as the last is answered. It reads one
`LoadSpec` as JSON from stdin and writes lines of JSON to stdout: ``{"event": "begins"}`` after the warm-up,
``{"event": "ends"}`` after the measured seconds, and then its `LoadResult`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import random
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.load.client import AnswerUnreadable, Connection, make_get, make_request
from tests.load.dialects import DIALECTS, Dialect
from tests.load.texts import make_texts, read_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

REFUSALS = (429, 503)
"""Statuses by which a server says that it has too much to do."""


class Fault(NamedTuple):
    """What was wrong with an answer."""

    reason: str
    """In words."""

    is_refusal: bool = False
    """Whether the server said that it has too much to do."""


class Sending(NamedTuple):
    """What a caller sends next."""

    texts: list[str]
    """To be encoded; empty for another call."""

    path: str = ""
    """Route of another call, a GET."""


if TYPE_CHECKING:
    Caller = Callable[[Sending], Awaitable[Fault | None]]

TEXTS_AHEAD_PER_S = 1_500
"""Texts made before the start for each second, so that making them costs nothing while it is measured."""

CHECK_EVERY = 50
"""One answer in so many is decoded and its vector's length checked; all are checked for status and size."""

MAX_REASONS = 5
"""Different failures that are reported word by word."""


@dataclass(frozen=True)
class LoadSpec:
    """What to send, where, and for how long."""

    protocol: str
    """``http`` or ``grpc``."""

    address: str
    """``host:port``."""

    model: str
    """The model's name."""

    tokenizer_file: str
    """Where words come from."""

    traffic: str
    """Kind of texts, see `texts.TRAFFIC`."""

    seed: str
    """Fixes the texts' lengths."""

    contender: str
    """Fixes, with the seed, their words."""

    concurrency: int
    """Callers."""

    warmup_s: float
    """Seconds before the measured ones."""

    measure_s: float
    """Seconds measured."""

    dimension: int = 384
    """Components of a vector."""

    headers: dict[str, str] = field(default_factory=dict)
    """HTTP headers, or gRPC metadata."""

    dialect: str = "openai"
    """How vectors are asked for over HTTP, see `dialects.DIALECTS`."""

    most_texts: int = 1
    """Texts in the largest request; sizes are log-uniform from 1 on."""

    other_share: float = 0.0
    """Share of requests that ask for something else than vectors."""

    other_paths: list[str] = field(default_factory=list)
    """Routes of those, asked in turn."""


@dataclass
class LoadResult:
    """What happened within the measured seconds."""

    measured_s: float
    """How long they really were."""

    latencies_ms: list[float]
    """Of every request for vectors that was answered well within them."""

    texts: int
    """Texts in those."""

    other_latencies_ms: list[float]
    """Of every other request that was answered well within them."""

    refused: int
    """Requests that the server had no time for, within them."""

    failures: int
    """Answers that were wrong, warm-up included."""

    reasons: list[str]
    """The first few different reasons."""

    cpu_s: float
    """CPU time of the generator itself."""


def check_vector(raw: bytes, dimension: int) -> str | None:
    """
    Check that some bytes are one vector of length 1.

    Args:
        raw: Little-endian float32.

        dimension: Components expected.

    Returns:
        What is wrong with it; None if nothing is.
    """
    if len(raw) != 4 * dimension:
        return f"a vector of {len(raw)} bytes instead of {4 * dimension}"
    norm = math.sqrt(sum(value * value for value in memoryview(raw).cast("f")))
    return None if abs(norm - 1) < 1e-3 else f"a vector of length {norm}"


def check_vectors(dialect: Dialect, head: bytes, body: bytes, texts: int, dimension: int) -> str | None:
    """
    Check all vectors of an answer.

    Args:
        dialect: How it is written.

        head: Its status line and headers.

        body: Its body.

        texts: Vectors expected.

        dimension: Components of each.

    Returns:
        What is wrong with it; None if nothing is.
    """
    try:
        vectors = dialect.read(head, body)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"an answer that can't be read ({error!r}): {body[:200]!r}"
    if len(vectors) != texts:
        return f"{len(vectors)} vectors for {texts} texts"
    return next((fault for raw in vectors if (fault := check_vector(raw, dimension))), None)


class Recorder:
    """Collects latencies of answers that end within the measured seconds."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.texts = 0
        self.other_latencies_ms: list[float] = []
        self.refused = 0
        self.failures = 0
        self.reasons: dict[str, None] = {}
        self.is_measuring = False
        self.is_over = False

    def note(self, seconds: float, fault: Fault | None, texts: int = 1) -> None:
        """
        Take one answer in.

        Args:
            seconds: From the request to its answer.

            fault: What was wrong with it, or None.

            texts: Texts in the request; 0 if it asked for something else.
        """
        if fault is not None:
            if fault.is_refusal:
                self.refused += self.is_measuring
            else:
                self.failures += 1
            if len(self.reasons) < MAX_REASONS:
                self.reasons[fault.reason] = None
        elif self.is_measuring and texts:
            self.latencies_ms.append(seconds * 1000)
            self.texts += texts
        elif self.is_measuring:
            self.other_latencies_ms.append(seconds * 1000)


async def call_repeatedly(call: Caller, sendings: Iterator[Sending], recorder: Recorder) -> None:
    """
    Be one caller of the closed loop.

    Args:
        call: Sends one request; returns what was wrong with the answer.

        sendings: Shared with the other callers.

        recorder: Takes the answers in, and says when it is over.
    """
    while not recorder.is_over:
        sending = next(sendings)
        started = time.perf_counter()
        fault = await call(sending)
        recorder.note(time.perf_counter() - started, fault, len(sending.texts))
        if fault is not None:
            await asyncio.sleep(0.01)  # a server that refuses everything is not to be hammered


def make_sendings(spec: LoadSpec, texts: Iterator[str]) -> Iterator[Sending]:
    """
    Put texts into requests, and other requests between them.

    Args:
        spec: Of which sizes, and how many others.

        texts: Without end.

    Yields:
        One request at a time.
    """
    sizes, others = random.Random(f"{spec.seed} sizes"), random.Random(f"{spec.seed} others")
    paths = itertools.cycle(spec.other_paths)
    while True:
        if spec.other_share and others.random() < spec.other_share:
            yield Sending([], next(paths))
            continue
        size = 1 if spec.most_texts == 1 else round(math.exp(sizes.uniform(0, math.log(spec.most_texts))))
        yield Sending(list(islice(texts, size)))


async def open_http_caller(spec: LoadSpec) -> Caller:
    """
    Make a caller over a connection of its own.

    Args:
        spec: Where to.

    Returns:
        A function that sends one request.
    """
    host, port = spec.address.rsplit(":", 1)
    connection = await Connection.open(host, int(port))
    dialect = DIALECTS[spec.dialect]
    path = dialect.request_path(spec.model)
    count = 0

    async def call(sending: Sending) -> Fault | None:
        nonlocal connection, count
        count += 1
        if sending.texts:
            body = dialect.body(spec.model, sending.texts)
            request = make_request(spec.address, path, spec.headers, body)
        else:
            request = make_get(spec.address, sending.path, spec.headers)
        try:
            answer = await connection.exchange(request)
        except AnswerUnreadable as error:
            connection = await Connection.open(host, int(port))
            return Fault(str(error))
        if answer.status != 200:
            return Fault(f"{answer.status}: {answer.body[:300]!r}", answer.status in REFUSALS)
        if len(answer.body) < 4 * spec.dimension * len(sending.texts):
            return Fault(f"too short: {answer.body[:300]!r}")
        if count % CHECK_EVERY == 1 and sending.texts:
            fault = check_vectors(dialect, connection.head, answer.body, len(sending.texts), spec.dimension)
            return None if fault is None else Fault(fault)
        return None

    return call


def make_grpc_caller(client: Any, grpc: Any, spec: LoadSpec) -> Caller:
    """
    Make a caller that does what users of tritonclient write.

    Args:
        client: An ``InferenceServerClient`` that all callers share.

        grpc: The module ``tritonclient.grpc.aio``.

        spec: What to call.

    Returns:
        A function that sends the texts of one request.
    """
    import numpy as np  # noqa: PLC0415

    async def call(sending: Sending) -> Fault | None:
        rows = [[text.encode()] for text in sending.texts]
        tensor = grpc.InferInput("text", [len(rows), 1], "BYTES")
        tensor.set_data_from_numpy(np.array(rows, dtype=np.object_))
        try:
            result = await client.infer(spec.model, [tensor])
        except grpc.InferenceServerException as error:
            return Fault(str(error))
        vectors = result.as_numpy("embedding")
        is_right = vectors.shape == (len(rows), spec.dimension)
        return None if is_right else Fault(f"vectors of shape {vectors.shape}")

    return call


async def run_load(spec: LoadSpec) -> LoadResult:
    """
    Generate the load.

    Args:
        spec: What, where, how long.

    Returns:
        What happened.
    """
    words = read_words(Path(spec.tokenizer_file))
    endless = make_texts(words, spec.traffic, spec.seed, spec.contender)
    ahead = list(islice(endless, int(TEXTS_AHEAD_PER_S * (spec.warmup_s + spec.measure_s))))
    sendings = make_sendings(spec, chain(ahead, endless))
    if spec.protocol == "http":
        callers = [await open_http_caller(spec) for _ in range(spec.concurrency)]
        return await run_callers(spec, callers, sendings)
    import tritonclient.grpc.aio as grpc  # noqa: PLC0415

    async with grpc.InferenceServerClient(spec.address) as client:
        callers = [make_grpc_caller(client, grpc, spec) for _ in range(spec.concurrency)]
        return await run_callers(spec, callers, sendings)


async def run_callers(spec: LoadSpec, callers: Sequence[Caller], sendings: Iterator[Sending]) -> LoadResult:
    """
    Let callers loose, and measure between warm-up and end.

    Args:
        spec: How long.

        callers: Who calls.

        sendings: What they send.

    Returns:
        What happened.
    """
    recorder = Recorder()
    tasks = [asyncio.create_task(call_repeatedly(call, sendings, recorder)) for call in callers]
    await asyncio.sleep(spec.warmup_s)
    say({"event": "begins"})
    cpu_before_s, started = time.process_time(), time.perf_counter()
    recorder.is_measuring = True
    await asyncio.sleep(spec.measure_s)
    recorder.is_measuring = False
    measured_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_before_s
    say({"event": "ends"})
    recorder.is_over = True
    async with asyncio.timeout(30):
        await asyncio.gather(*tasks)
    return LoadResult(
        measured_s=measured_s,
        latencies_ms=recorder.latencies_ms,
        texts=recorder.texts,
        other_latencies_ms=recorder.other_latencies_ms,
        refused=recorder.refused,
        failures=recorder.failures,
        reasons=list(recorder.reasons),
        cpu_s=cpu_s,
    )


def say(line: dict[str, Any]) -> None:
    """
    Write one line to who started this program.

    Args:
        line: An event or a result.
    """
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the spec, generate the load, write the result."""
    spec = LoadSpec(**json.load(sys.stdin))
    # uvloop makes our own client cheaper; grpc.aio has its own poller, and users run it on asyncio's loop.
    if spec.protocol == "http":
        import uvloop  # noqa: PLC0415

        result = uvloop.run(run_load(spec))
    else:
        result = asyncio.run(run_load(spec))
    say(asdict(result))


if __name__ == "__main__":
    main()
