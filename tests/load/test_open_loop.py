"""Open-loop arrivals: their rate, what is counted as what, and from when latencies count; against a real server."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import struct
from typing import TYPE_CHECKING

import pytest

from tests.load.open_loop import OpenLoad, OpenLoop, draw_arrivals
from tests.load.test_same_request import hang_up

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

VECTOR = base64.b64encode(struct.pack("<4f", 1, 0, 0, 0)).decode()
OK = json.dumps({"data": [{"embedding": VECTOR}]}).encode()


def test_arrivals_have_their_mean_rate_and_no_rhythm() -> None:
    """Gaps average to the rate's inverse, and their deviation is as large as their mean, as Poisson's are."""
    times = draw_arrivals(1000, 20, "seed")
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)

    assert 19_000 < len(times) < 21_000
    assert times == sorted(times)
    assert times[-1] < 20
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert 0.9 < deviation / mean < 1.1
    assert times == draw_arrivals(1000, 20, "seed")


async def test_answers_refusals_and_failures_are_kept_apart(tmp_path: Path) -> None:
    """Of every four answers one is a 200, two are 503s (one without Retry-After) and one a 500: each is counted."""
    count = 0
    served: list[asyncio.Task[None]] = []
    kinds = (
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(OK), OK),
        b"HTTP/1.1 503 X\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 X\r\nContent-Length: 0\r\n\r\n",
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        try:
            while await reader.readuntil(b"}"):
                writer.write(kinds[count % 4])
                count += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await hang_up(writer)

    tokenizer_file = tmp_path / "tokenizer.json"
    words = {f"word{first}{second}": 1 for first in "abcdefghij" for second in "abcdefghij"}
    tokenizer_file.write_text(json.dumps({"model": {"vocab": words}}), encoding="utf-8")
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        spec = OpenLoad(
            address=f"127.0.0.1:{port}",
            model="m",
            tokenizer_file=str(tokenizer_file),
            traffic="short",
            seed="s",
            rate_per_s=200,
            warmup_s=0,
            measure_s=0.5,
            headers={},
            connections=2,
            dimension=4,
        )
        result = await OpenLoop(spec).run()
        await asyncio.gather(*served)

    assert result.due == count > 8
    refused = len(result.refused_due_ms)
    assert len(result.admitted_due_ms) + refused + result.failures == count
    assert result.without_retry_after == pytest.approx(refused / 2, abs=1)
    assert result.failures == pytest.approx(count / 4, abs=1)
    assert result.reasons == ["500: b''"]
    for due_ms, sent_ms in zip(result.admitted_due_ms, result.admitted_sent_ms, strict=True):
        assert 0 < sent_ms <= due_ms
