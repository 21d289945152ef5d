"""Work that hangs is left behind."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time

import pytest

from facade.doctor.bounded import explain_connection, in_thread, knock, resolve, split_address
from tests.facade.redis_server import free_port

pytestmark = pytest.mark.anyio


async def test_results_and_errors_come_back() -> None:
    """As from a call."""
    assert await in_thread(lambda: 1 + 1, 5) == 2
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, 5)


async def test_what_hangs_is_left_behind() -> None:
    """The wait ends in time."""
    release = threading.Event()
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        await in_thread(release.wait, 0.1)
    assert time.monotonic() - before < 2
    release.set()


def test_a_process_does_not_wait_for_it() -> None:
    """Python joins the loop's own threads at its end; not these."""
    code = (
        "import asyncio, contextlib, threading\n"
        "from facade.doctor.bounded import in_thread\n"
        "with contextlib.suppress(TimeoutError):\n"
        "    asyncio.run(in_thread(threading.Event().wait, 0.1))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=20, check=False).returncode == 0


async def test_names_and_ports_are_tried() -> None:
    """A free port refuses, a listener takes us, an unknown name isn't resolved."""
    assert "127.0.0.1" in await resolve("127.0.0.1", 80, 5)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await knock("127.0.0.1", listener.getsockname()[1], 5)
    with pytest.raises(ConnectionRefusedError) as refused:
        await knock("127.0.0.1", free_port(), 5)
    with pytest.raises(socket.gaierror) as unknown:
        await resolve("no-such-host.invalid", 80, 5)

    assert "refused" in explain_connection(refused.value)
    assert "can't be resolved" in explain_connection(unknown.value)
    assert explain_connection(TimeoutError()) == "no answer in time"


def test_addresses_are_taken_apart() -> None:
    """IPv6 stands in brackets."""
    assert split_address("[::1]:8001") == ("::1", 8001)
    assert split_address("redis", 6379) == ("redis", 6379)
    with pytest.raises(ValueError, match="host:port"):
        split_address("triton")
