"""
Callers who read streams, for load only: they must not cost what they measure.

A frame is counted by its first bytes and only the last ones are parsed: what a stream says of its own tokens.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.load.client import make_request

if TYPE_CHECKING:
    from collections.abc import Sequence

READ_LIMIT_BYTES = 1 << 20


class StreamFailed(Exception):
    """A stream ended early, or said that something is wrong."""


@dataclass(frozen=True)
class Streamed:
    """One stream, read to its end."""

    first_s: float
    """Seconds from the request to the first piece of text."""

    total_s: float
    """Seconds from the request to the end."""

    tokens: int
    """Tokens of the answer, as its usage says."""

    frames: int
    """Events that came."""


def completion_body(model: str, prompt: str, max_tokens: int) -> bytes:
    """
    Write the body of a streamed ``POST /v1/completions`` that writes so many tokens, whatever it writes.

    Args:
        model: The model's name.

        prompt: What it reads.

        max_tokens: How many tokens it writes.

    Returns:
        JSON.
    """
    return json.dumps(
        {
            "model": model,
            "prompt": prompt,
            "max_tokens": max_tokens,
            "temperature": 0,
            "ignore_eos": True,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
    ).encode()


async def read_stream(
    url: str, key: str, body: bytes, *, cancel_after_s: float | None = None
) -> Streamed | None:
    """
    Send one request on a connection of its own, and read its stream.

    Args:
        url: The façade's base URL.

        key: The caller's.

        body: See `completion_body`.

        cancel_after_s: Hang up after so many seconds; None reads to the end.

    Returns:
        What came; None if it hung up.

    Raises:
        StreamFailed: If the stream didn't end as it should.
    """
    host, _, port = url.removeprefix("http://").partition(":")
    # What may be stored would be read from the cache: here the model is what counts.
    headers = {"authorization": f"Bearer {key}", "cache-control": "no-store", "connection": "close"}
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection(host, int(port), limit=READ_LIMIT_BYTES)
    try:
        writer.write(make_request(f"{host}:{port}", "/v1/completions", headers, body))
        async with asyncio.timeout(cancel_after_s):
            return await _read_frames(reader, started)
    except TimeoutError:
        return None
    finally:
        writer.transport.abort()


async def _read_frames(reader: asyncio.StreamReader, started: float) -> Streamed:
    """Count the frames of an answer that has begun."""
    head = await reader.readuntil(b"\r\n\r\n")
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise StreamFailed(head.split(b"\r\n", 1)[0].decode() + " " + (await reader.read(500)).decode())
    first_s, frames, last = 0.0, 0, b""
    while True:
        line = await reader.readline()
        if not line:
            raise StreamFailed(f"the stream broke off after {frames} frames; the last: {last[:300]!r}")
        if not line.startswith(b"data: "):
            continue
        if line.startswith(b"data: [DONE]"):
            break
        if frames == 0:
            first_s = time.perf_counter() - started
        frames += 1
        last = line
    usage = json.loads(last[6:])["usage"]
    return Streamed(first_s, time.perf_counter() - started, usage["completion_tokens"], frames)


async def read_together(url: str, key: str, bodies: Sequence[bytes]) -> tuple[list[Streamed], float]:
    """
    Send all requests at once, and read all streams.

    Args:
        url: The façade's base URL.

        key: The caller's.

        bodies: One a stream.

    Returns:
        What came, and the seconds until the last had ended.
    """
    started = time.perf_counter()
    found = await asyncio.gather(*(read_stream(url, key, body) for body in bodies))
    return [one for one in found if one is not None], time.perf_counter() - started
