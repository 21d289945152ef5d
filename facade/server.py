"""
The HTTP server's life: it listens, drains, and stops without resetting anybody.

A SIGTERM starts the drain: readiness turns false, answers say ``Connection: close``, new connections are still served,
so that nothing is lost while load balancers notice. After *drain_s* the listener closes, requests in flight finish
within their bound, and the process ends with exit code 0. A SIGINT (somebody at a terminal) skips the wait; a second
signal cuts everything short.
"""

from __future__ import annotations

import gc
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Iterator
    from types import FrameType

    from starlette.types import ASGIApp


GARBAGE_THRESHOLD = 10_000
"""New objects after which the garbage collector looks at the young ones; a few MB at most."""


@dataclass(slots=True)
class Drain:
    """Whether this process is on its way out; read by readiness and by every answer."""

    is_draining: bool = False


def build_config(
    app: ASGIApp, http: type[asyncio.Protocol], *, keep_alive_s: int = 75, shutdown_grace_s: int = 30
) -> uvicorn.Config:
    """
    Choose uvicorn's options.

    Args:
        app: What is served.

        http: What speaks HTTP, one object a connection.

        keep_alive_s: Idle seconds before a connection is closed.

        shutdown_grace_s: Seconds that requests in flight get at the end.

    Returns:
        The options.
    """
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=http,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        # uvicorn believes X-Forwarded-For of 127.0.0.1 by default; whom to believe is for `access.networks` to say.
        proxy_headers=False,
        timeout_keep_alive=keep_alive_s,
        timeout_graceful_shutdown=shutdown_grace_s,
    )


def settle_garbage_collector() -> None:
    """
    Have the garbage collector look at what requests leave behind only, and less often.

    Modules, keys and routes are some 100,000 objects that it would go through again and again; a request leaves hardly
    any cycles. The default of 700 new objects is reached by every tenth request.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD, *gc.get_threshold()[1:])


class Server(uvicorn.Server):
    """
    uvicorn with a drain before its shutdown.

    Args:
        config: uvicorn's own.

        drain: Set when the drain begins.

        drain_s: Seconds between SIGTERM and the closing of the listener.
    """

    def __init__(self, config: uvicorn.Config, drain: Drain, drain_s: float) -> None:
        super().__init__(config)
        self._drain = drain
        self._drain_s = drain_s
        self._closes_at: float | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT while serving; unlike uvicorn, don't raise them again after a clean stop."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and then let the garbage collector leave alone what stays for good."""
        await super().startup(sockets)
        settle_garbage_collector()

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Begin the drain; at the second signal, stop at once."""
        if self._closes_at is not None:
            self.should_exit = self.force_exit = True
            return
        self._drain.is_draining = True
        self._closes_at = time.monotonic() + (self._drain_s if sig == signal.SIGTERM else 0)

    async def on_tick(self, counter: int) -> bool:
        """Say whether to stop; uvicorn asks ten times a second."""
        if self._closes_at is not None and time.monotonic() >= self._closes_at:
            self.should_exit = True
        return await super().on_tick(counter)
