"""A distance: everything that passes takes so much longer, each way. netem isn't in every kernel."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Self


class Proxy:
    """
    A TCP proxy on a free port of this machine.

    Args:
        target: ``host:port`` of the server.

        delay_s: Seconds that each piece of data takes, each way.
    """

    def __init__(self, target: str, *, delay_s: float = 0.0) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self.delay_s = delay_s
        """May be changed while it is used; counts for what comes from now on."""
        self.url = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in self._open:
            writer.transport.abort()
        # Sockets are closed on the loop's next turn.
        await asyncio.sleep(0)

    async def _accept(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        try:
            far, to_far = await asyncio.open_connection(self._host, self._port)
        except OSError:
            # Whoever connects is told what the server would have told.
            to_near.transport.abort()
            return
        self._open |= {to_near, to_far}
        for reader, writer in ((near, to_far), (far, to_near)):
            task = asyncio.create_task(self._pass_on(reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while data := await reader.read(65536):
                # Not a sleep: what comes meanwhile isn't held up by what came before.
                loop.call_later(self.delay_s, _write, writer, data)
        loop.call_later(self.delay_s, self._hang_up, writer)

    def _hang_up(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        self._open.discard(writer)


def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if not writer.is_closing():
        writer.write(data)
