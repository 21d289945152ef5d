"""Sending one request again and again: what wrk is told, what it tells, and our own client against a real server."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.load.client import AnswerUnreadable
from tests.load.measure import BenchFailed
from tests.load.same_request import SameRequest, read_wrk_report, send_for, write_wrk_script

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

REPORT = """
  Latency Distribution
     50%  812.00us
     75%    1.00ms
     90%    1.50ms
     99%    2.50ms
  10000 requests in 5.01s, 20.00MB read
Requests/sec:   1996.01
"""


def test_wrk_is_told_everything() -> None:
    """Method, body and all headers stand in its script, quotes unharmed."""
    script = write_wrk_script(SameRequest("here:1", "/x", {"authorization": "Bearer k"}, '{"a": "b"}', 4))

    assert 'wrk.method = "POST"' in script
    assert 'wrk.body = [==[{"a": "b"}]==]' in script
    assert "wrk.headers[ [==[authorization]==] ] = [==[Bearer k]==]" in script


def test_wrk_is_read_in_all_its_units() -> None:
    """Counts, and latencies in milliseconds whatever the unit."""
    answered = read_wrk_report(REPORT)

    assert answered.count == 10_000
    assert answered.seconds == pytest.approx(5.01)
    assert answered.p50_ms == pytest.approx(0.812)
    assert answered.p99_ms == 2.5


@pytest.mark.parametrize("trouble", ["  Non-2xx or 3xx responses: 7", "  Socket errors: connect 1"])
def test_wrong_answers_fail_the_run(trouble: str) -> None:
    """Wrk itself is content with errors; the benchmark isn't."""
    with pytest.raises(BenchFailed):
        read_wrk_report(REPORT + trouble)
    with pytest.raises(BenchFailed):
        read_wrk_report("unable to connect")


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection, and wait until it is; the other side may have been faster."""
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.fixture
async def address(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """Serve the status that a test asks for."""
    served: list[asyncio.Task[None]] = []
    raw = b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % request.param

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                writer.write(raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await hang_up(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*served)


@pytest.mark.parametrize("address", [200], indirect=True)
async def test_our_own_client_counts_answers(address: str) -> None:
    """Each answer leaves one latency."""
    latencies_ms = await send_for(SameRequest(address, "/", {}, "{}", 4), 0.1)

    assert latencies_ms
    assert all(0 < latency_ms < 10_000 for latency_ms in latencies_ms)


@pytest.mark.parametrize("address", [503], indirect=True)
async def test_our_own_client_accepts_nothing_but_200(address: str) -> None:
    """A refusal ends it."""
    with pytest.raises(AnswerUnreadable, match="503"):
        await send_for(SameRequest(address, "/", {}, "{}", 4), 5)
