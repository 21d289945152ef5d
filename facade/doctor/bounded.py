"""Work that may hang (a resolver without answer, a dead network disk), kept from holding up anything else."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


async def in_thread(work: Callable[[], Result], timeout_s: float) -> Result:
    """
    Run blocking work in a thread that the process doesn't wait for when it ends.

    The loop's own threads won't do: Python joins them at its exit, and with them waits for whatever hangs.

    Args:
        work: What to do.

        timeout_s: Seconds until it is left behind.

    Returns:
        What it returned.

    Raises:
        TimeoutError: If it took longer.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Result] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not done.done():
            set_outcome(outcome)

    def run() -> None:
        try:
            outcome: tuple[Callable[[Any], None], object] = (done.set_result, work())
        except Exception as error:  # noqa: BLE001  # whatever it is, it belongs to whoever asked
            outcome = (done.set_exception, error)
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, *outcome)

    Thread(target=run, daemon=True, name="doctor").start()
    async with asyncio.timeout(timeout_s):
        return await done


async def resolve(host: str, port: int, timeout_s: float) -> list[str]:
    """
    Look up a name.

    Args:
        host: The name, or an address.

        port: The port.

        timeout_s: Seconds to wait.

    Returns:
        Its addresses, none twice.

    Raises:
        OSError: If there is no such name, or nobody answered in time.
    """
    found = await in_thread(
        lambda: socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM), timeout_s
    )
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in found))


async def knock(host: str, port: int, timeout_s: float) -> None:
    """
    Open a TCP connection and close it again.

    Args:
        host: An address.

        port: The port.

        timeout_s: Seconds to wait.

    Raises:
        OSError: If nobody takes it, or not in time.
    """
    async with asyncio.timeout(timeout_s):
        _, writer = await asyncio.open_connection(host, port)
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def split_address(address: str, default_port: int | None = None) -> tuple[str, int]:
    """
    Take ``host:port`` apart; IPv6 addresses stand in brackets.

    Args:
        address: Such as ``127.0.0.1:8001``.

        default_port: What is meant without a port; None where it has to be there.

    Returns:
        Host without brackets, and port.

    Raises:
        ValueError: If it is neither.
    """
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal() and host:
        return host.strip("[]"), int(port)
    if default_port is None:
        raise ValueError(f"{address!r} is not host:port")
    return address.strip("[]"), default_port


def explain_connection(error: BaseException) -> str:
    """
    Say why there is no connection, in words.

    Args:
        error: What was raised.

    Returns:
        Such as "nothing listens there".
    """
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused)"
    if isinstance(error, socket.gaierror):
        return f"the name can't be resolved ({error.strerror or error})"
    return str(getattr(error, "strerror", None) or error or type(error).__name__)
