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

    from facade.errors import FacadeError

WATCH_DELAY_S = 0.001
"""Seconds before the watching begins, which costs a task: an answer from memory is sent by then."""


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
        self._starter = _Starter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        timeout_s = find_timeout(context.request_headers, default_s=self._default_s, max_s=self._max_s)
        watch = _Watch(receive, timeout_s)
        self._starter.add(watch)
        context.deadline = watch.deadline
        try:
            await self._app(scope, watch.receive, send)
        except asyncio.CancelledError:
            if watch.verdict is None:
                raise
            watch.request.uncancel()
            raise watch.verdict from None
        finally:
            watch.stop()


class _Watch:
    """
    Passes the body down, and cancels the request when its time is over or its caller leaves.

    It begins a moment after it was made (`_Starter`), so that an answer from memory, which is sent before that, pays
    for no timer and no task.

    Args:
        receive: The server's own.

        timeout_s: Seconds that the request has.
    """

    def __init__(self, receive: Receive, timeout_s: float) -> None:
        # Asked for once: each time is a system call (CPython 3.11 looks whether it was forked).
        self._loop = asyncio.get_running_loop()
        request = asyncio.current_task(self._loop)
        assert request is not None  # noqa: S101  # coroutines run in tasks
        self.request = request
        self.deadline = self._loop.time() + timeout_s
        self.verdict: FacadeError | None = None
        """Why the request was cancelled; None if that wasn't us."""
        self.is_over = False
        """Whether the answer is written."""
        self._receive = receive
        self._timeout_s = timeout_s
        self._has_begun = False
        self._is_whole = False
        self._timer: asyncio.TimerHandle | None = None
        self._listener: asyncio.Task[Message] | None = None

    async def receive(self) -> Message:
        """Give the next part of the body; after the last one, the caller's leaving."""
        if self._is_whole:
            return await asyncio.shield(self._listen())
        message = await self._receive()
        if message["type"] == "http.request" and not message.get("more_body", False):
            self._is_whole = True
            if self._has_begun:
                self._listen()
        return message

    def begin(self) -> None:
        """Watch from now on."""
        self._has_begun = True
        self._timer = self._loop.call_at(self.deadline, self._expire)
        if self._is_whole:
            self._listen()

    def stop(self) -> None:
        """The answer is written: watch no more."""
        self.is_over = True
        if self._timer is not None:
            self._timer.cancel()
        if self._listener is not None:
            self._listener.cancel()

    def _expire(self) -> None:
        self._end(DeadlineExceeded(f"No answer within {self._timeout_s:g} s, the request's time."))

    def _end(self, verdict: FacadeError) -> None:
        if self.verdict is None:
            self.verdict = verdict
            self.request.cancel()

    def _listen(self) -> asyncio.Task[Message]:
        if self._listener is None:
            self._listener = self._loop.create_task(self._await_leaving())
        return self._listener

    async def _await_leaving(self) -> Message:
        message = await self._receive()
        while message["type"] != "http.disconnect":
            message = await self._receive()
        self._end(CallerLeft("The caller closed the connection."))
        return message


class _Starter:
    """Begins watches at most `WATCH_DELAY_S` after they were made, many with one timer."""

    def __init__(self) -> None:
        self._fresh: list[_Watch] = []

    def add(self, watch: _Watch) -> None:
        """Take a watch that was just made."""
        if not self._fresh:
            asyncio.get_running_loop().call_later(WATCH_DELAY_S, self._begin_all)
        self._fresh.append(watch)

    def _begin_all(self) -> None:
        fresh, self._fresh = self._fresh, []
        for watch in fresh:
            if not watch.is_over:
                watch.begin()


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
