"""Runs an ASGI application behind the real HTTP server, inside the test's own loop."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import uvicorn

from facade.commands.serve import open_listener
from facade.http_protocol import BoundedHttpProtocol
from facade.server import build_config

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from starlette.types import ASGIApp


class _Server(uvicorn.Server):
    """Leaves the test runner's signal handlers alone."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[str]:
    """
    Serve an application on a free port.

    Args:
        app: The application.

    Yields:
        Its base URL.
    """
    # As the command makes it: asyncio spares only sockets that say they are TCP the 40 ms of Nagle's algorithm.
    listener = open_listener("127.0.0.1", 0)
    server = _Server(build_config(app, BoundedHttpProtocol, shutdown_grace_s=1))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not running.done():
        await asyncio.sleep(0)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running
        listener.close()
