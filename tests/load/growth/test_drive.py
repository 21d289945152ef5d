"""One point of a curve, against a small server of the test's own on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from typing import TYPE_CHECKING

import pytest

from tests.load.client import make_request
from tests.load.growth.drive import Drive, drive, read_retry_s
from tests.load.growth.models import make_requests, make_texts
from tests.load.measure import BenchFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.load.growth.drive import Figures

WORDS = ["river", "bank", "stone", "bridge"]


async def _serve_and_drive(answers: Iterator[bytes], *, neighbours: int = 0) -> Figures:
    conversations: set[asyncio.Task[None] | None] = set()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        conversations.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                writer.write(next(answers))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        request = make_request(f"127.0.0.1:{port}", "/", {}, b"{}")
        load = Drive(
            f"127.0.0.1:{port}",
            itertools.repeat(request),
            callers=3,
            texts_a_request=2,
            least_bytes=4,
            programs={"server": os.getpid()},
            warmup_s=0,
            measure_s=0.05,
            neighbours={f"beside{n}": itertools.repeat(request) for n in range(neighbours)},
        )
        try:
            return await drive(load)
        finally:
            await asyncio.gather(*filter(None, conversations))


def _answer(status: str, body: bytes, headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n%b" % (status.encode(), headers, len(body), body)


def test_figures_are_a_text_and_a_request() -> None:
    """Two texts a request: half the cost a text, and CPU time, memory and waits of everybody named."""
    figures = asyncio.run(_serve_and_drive(itertools.repeat(_answer("200 OK", b"fine")), neighbours=1))

    assert figures["requests"] >= 3
    assert figures["texts_per_s"] == pytest.approx(2 * figures["requests_per_s"])
    assert figures["server_cpu_us_a_request"] == pytest.approx(2 * figures["server_cpu_us_a_text"])
    assert figures["server_rss_mib"] > 1
    assert figures["server_peak_mib"] >= figures["server_rss_mib"] * 0.9
    assert figures["beside0_longest_ms"] >= figures["beside0_p50_ms"] > 0


def test_a_refused_caller_waits_and_asks_again() -> None:
    """Refusals are counted beside the answers, and are no failure."""
    full = _answer("503 Service Unavailable", b"full", b"retry-after-ms: 1\r\n")
    answers = itertools.cycle([full, _answer("200 OK", b"fine")])

    figures = asyncio.run(_serve_and_drive(answers))

    assert figures["refused_a_request"] > 0


@pytest.mark.parametrize("answer", [_answer("500 Oh", b"fine"), _answer("200 OK", b"sho")])
def test_a_wrong_answer_ends_the_measurement(answer: bytes) -> None:
    """What is wrong or too short would be cheap, and no figure."""
    with pytest.raises(BenchFailed, match="a wrong answer"):
        asyncio.run(_serve_and_drive(itertools.repeat(answer)))


def test_a_refusal_has_to_say_when_to_come_back() -> None:
    """Milliseconds are read as seconds; without them there is nothing to obey."""
    assert read_retry_s(b"HTTP/1.1 503 x\r\nRetry-After-Ms: 250") == 0.25
    with pytest.raises(BenchFailed):
        read_retry_s(b"HTTP/1.1 503 x")


def test_texts_are_unique_and_as_long_as_asked() -> None:
    """Also those of a single word, as long as the words last; special tokens count."""
    texts = list(itertools.islice(make_texts(WORDS, tokens=9), 500))

    assert {len(text.split()) for text in texts} == {7}
    assert len(set(texts)) == 500
    assert list(itertools.islice(make_texts(WORDS, tokens=3), 4)) == WORDS


def test_several_texts_go_in_one_request() -> None:
    """One text is sent as a string, several as a list."""
    texts = make_texts(WORDS, tokens=4)

    assert b'"input": "river river"' in next(make_requests("h:1", "m", texts))
    assert b'"input": ["bank river", "stone river"]' in next(make_requests("h:1", "m", texts, 2))
