"""
The load generator: a program of its own, so that it shares no interpreter lock with what is measured.

Closed loop: *concurrency* callers, each of whom sends the next text as soon as the last is answered. It reads one
`LoadSpec` as JSON from stdin and writes lines of JSON to stdout: ``{"event": "begins"}`` after the warm-up,
``{"event": "ends"}`` after the measured seconds, and then its `LoadResult`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import sys
import time
from dataclasses import asdict, dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.load.client import AnswerUnreadable, Connection, embeddings_body, make_request
from tests.load.texts import make_texts, read_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Caller = Callable[[str], Awaitable[str | None]]

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

    path: str = "/v1/embeddings"
    """HTTP route."""


@dataclass
class LoadResult:
    """What happened within the measured seconds."""

    measured_s: float
    """How long they really were."""

    latencies_ms: list[float]
    """Of every text answered well within them."""

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


def check_body(body: bytes, dimension: int) -> str | None:
    """
    Check the body of an embeddings answer in base64.

    Args:
        body: JSON.

        dimension: Components expected.

    Returns:
        What is wrong with it; None if nothing is.
    """
    try:
        encoded = json.loads(body)["data"][0]["embedding"]
        return check_vector(base64.b64decode(encoded), dimension)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        return f"an answer that can't be read ({error!r}): {body[:200]!r}"


class Recorder:
    """Collects latencies of answers that end within the measured seconds."""

    def __init__(self) -> None:
        self.latencies_ms: list[float] = []
        self.failures = 0
        self.reasons: dict[str, None] = {}
        self.is_measuring = False
        self.is_over = False

    def note(self, seconds: float, fault: str | None) -> None:
        """
        Take one answer in.

        Args:
            seconds: From the request to its answer.

            fault: What was wrong with it, or None.
        """
        if fault is not None:
            self.failures += 1
            if len(self.reasons) < MAX_REASONS:
                self.reasons[fault] = None
        elif self.is_measuring:
            self.latencies_ms.append(seconds * 1000)


async def call_repeatedly(call: Caller, texts: Iterator[str], recorder: Recorder) -> None:
    """
    Be one caller of the closed loop.

    Args:
        call: Sends one text; returns what was wrong with the answer.

        texts: Shared with the other callers.

        recorder: Takes the answers in, and says when it is over.
    """
    while not recorder.is_over:
        text = next(texts)
        started = time.perf_counter()
        fault = await call(text)
        recorder.note(time.perf_counter() - started, fault)
        if fault is not None:
            await asyncio.sleep(0.01)  # a server that refuses everything is not to be hammered


async def open_http_caller(spec: LoadSpec) -> Caller:
    """
    Make a caller over a connection of its own.

    Args:
        spec: Where to.

    Returns:
        A function that sends one text.
    """
    host, port = spec.address.rsplit(":", 1)
    connection = await Connection.open(host, int(port))
    least_bytes = len(base64.b64encode(bytes(4 * spec.dimension)))
    count = 0

    async def call(text: str) -> str | None:
        nonlocal connection, count
        count += 1
        request = make_request(spec.address, spec.path, spec.headers, embeddings_body(spec.model, text))
        try:
            answer = await connection.exchange(request)
        except AnswerUnreadable as error:
            connection = await Connection.open(host, int(port))
            return str(error)
        if answer.status != 200:
            return f"{answer.status}: {answer.body[:300]!r}"
        if len(answer.body) < least_bytes:
            return f"too short: {answer.body[:300]!r}"
        return check_body(answer.body, spec.dimension) if count % CHECK_EVERY == 1 else None

    return call


def make_grpc_caller(client: Any, grpc: Any, spec: LoadSpec) -> Caller:
    """
    Make a caller that does what users of tritonclient write.

    Args:
        client: An ``InferenceServerClient`` that all callers share.

        grpc: The module ``tritonclient.grpc.aio``.

        spec: What to call.

    Returns:
        A function that sends one text.
    """
    import numpy as np  # noqa: PLC0415

    async def call(text: str) -> str | None:
        tensor = grpc.InferInput("text", [1, 1], "BYTES")
        tensor.set_data_from_numpy(np.array([[text.encode()]], dtype=np.object_))
        try:
            result = await client.infer(spec.model, [tensor])
        except grpc.InferenceServerException as error:
            return str(error)
        vector = result.as_numpy("embedding")
        return None if vector.shape == (1, spec.dimension) else f"a vector of shape {vector.shape}"

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
    texts = chain(ahead, endless)
    if spec.protocol == "http":
        callers = [await open_http_caller(spec) for _ in range(spec.concurrency)]
        return await run_callers(spec, callers, texts)
    import tritonclient.grpc.aio as grpc  # noqa: PLC0415

    async with grpc.InferenceServerClient(spec.address) as client:
        callers = [make_grpc_caller(client, grpc, spec) for _ in range(spec.concurrency)]
        return await run_callers(spec, callers, texts)


async def run_callers(spec: LoadSpec, callers: list[Caller], texts: Iterator[str]) -> LoadResult:
    """
    Let callers loose, and measure between warm-up and end.

    Args:
        spec: How long.

        callers: Who calls.

        texts: What they send.

    Returns:
        What happened.
    """
    recorder = Recorder()
    tasks = [asyncio.create_task(call_repeatedly(call, texts, recorder)) for call in callers]
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
    return LoadResult(measured_s, recorder.latencies_ms, recorder.failures, list(recorder.reasons), cpu_s)


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
