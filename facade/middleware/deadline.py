"""
Ends a request when its time is over or its caller left, and with it everything that was started for it.

The header ``X-Request-Timeout`` (seconds) gives the time, counted from the request's arrival. What runs below is
cancelled as one task: the wait in the batcher, the gRPC call behind it, and so the work in Triton.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from facade.context import context_of
from facade.errors import CallerLeft, DeadlineExceeded, InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

WATCH_DELAY_S = 0.001
"""Watching for a caller that leaves costs a task; an answer from memory is sent before it starts."""


class Deadline:
    """
    Bound each request's time.

    Args:
        app: The next layer.

        default_s: Seconds for a request that doesn't say.

        max_s: Longer wishes are cut to this.
    """

    def __init__(self, app: ASGIApp, default_s: float, max_s: float) -> None:
        self._app = app
        self._default_s = default_s
        self._max_s = max_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        timeout_s = find_timeout(context.request_headers, default_s=self._default_s, max_s=self._max_s)
        loop = asyncio.get_running_loop()
        context.deadline = loop.time() + timeout_s
        watch = _Watch(receive)
        try:
            async with asyncio.timeout_at(context.deadline):
                await self._app(scope, watch.receive, send)
        except TimeoutError:
            raise DeadlineExceeded(f"No answer within {timeout_s:g} s, the request's time.") from None
        except asyncio.CancelledError:
            if not watch.has_caller_left:
                raise
            current = asyncio.current_task()
            if current is not None:
                current.uncancel()
            raise CallerLeft("The caller closed the connection.") from None
        finally:
            watch.stop()


class _Watch:
    """
    Passes the body down, and once it is whole listens for the caller's leaving.

    Args:
        receive: The server's own.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._start: asyncio.TimerHandle | None = None
        self._listener: asyncio.Task[None] | None = None
        self._left: asyncio.Future[Message] | None = None
        self.has_caller_left = False

    async def receive(self) -> Message:
        """Give the next part of the body; after the last one, the caller's leaving."""
        if self._left is not None:
            return await asyncio.shield(self._left)
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            loop = asyncio.get_running_loop()
            self._left = loop.create_future()
            self._start = loop.call_later(WATCH_DELAY_S, self._listen, asyncio.current_task())
        return message

    def stop(self) -> None:
        """The answer is written: listen no more."""
        if self._start is not None:
            self._start.cancel()
        if self._listener is not None:
            self._listener.cancel()

    def _listen(self, request: asyncio.Task[None] | None) -> None:
        self._listener = asyncio.get_running_loop().create_task(self._await_leaving(request))

    async def _await_leaving(self, request: asyncio.Task[None] | None) -> None:
        message = await self._receive()
        while message["type"] != "http.disconnect":
            message = await self._receive()
        self.has_caller_left = True
        if self._left is not None and not self._left.done():
            self._left.set_result(message)
        if request is not None:
            request.cancel()


def find_timeout(headers: Mapping[bytes, bytes], *, default_s: float, max_s: float) -> float:
    """
    Read how long the caller is willing to wait.

    Args:
        headers: By lower-case name.

        default_s: Seconds where the caller doesn't say.

        max_s: Upper bound in seconds.

    Returns:
        Seconds.

    Raises:
        InvalidInput: If the header isn't a positive number.
    """
    value = headers.get(b"x-request-timeout")
    if value is None:
        return default_s
    try:
        timeout_s = float(value)
    except ValueError:
        timeout_s = math.nan
    if not timeout_s > 0:
        raise InvalidInput(
            "'X-Request-Timeout' must be a positive number of seconds.", param="X-Request-Timeout"
        )
    return min(timeout_s, max_s)
