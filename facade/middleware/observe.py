"""The outermost layer: names each request, measures it, logs it, and answers for whatever was raised below."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

from facade import problems
from facade.context import SCOPE_KEY, RequestContext
from facade.errors import CallerLeft

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from facade.server import Drain
    from facade.telemetry import Metrics

log = logging.getLogger(__name__)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
"""What we take over from a caller: nothing that could forge a log line or a header."""

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Any other method is counted as OTHER, so that callers can't add labels."""

PROBES = frozenset({"/health/live", "/health/ready", "/metrics", "/ui/state"})
"""Routes that machines ask every few seconds; a line is worth it only when the answer isn't fine."""

LAST_FRAME_S = 1.0
"""
Seconds that the last frame of a broken stream may take. A caller that reads nothing keeps every write waiting; its
connection is then closed without one.
"""

UNMATCHED = "unmatched"
"""Route label of paths that lead nowhere."""


class Observe:
    """
    Give each request an id, a measurement, a log line and, if need be, an error body.

    Args:
        app: The next layer.

        metrics: Where requests are counted.

        drain: While it is on, answers ask callers to connect anew, elsewhere.

        write_line: Takes the fields of each request's log line.

        name_route: Gives the template of a path, for requests that no router saw; None if it leads nowhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        drain: Drain,
        write_line: Callable[[dict[str, object]], None],
        name_route: Callable[[str], str | None],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._drain = drain
        self._write_line = write_line
        self._name_route = name_route

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Every layer below looks its own up here.
        request_headers = _by_name(scope["headers"])
        context = RequestContext(_request_id(request_headers), request_headers)
        scope[SCOPE_KEY] = context
        status = 0
        is_stream = False
        started = time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status, is_stream
            if message["type"] == "http.response.start":
                status = message["status"]
                is_stream = _is_event_stream(message["headers"])
                headers = message["headers"]
                headers.append((b"x-request-id", context.request_id.encode()))
                headers += [
                    (name.encode(), value.encode("latin-1")) for name, value in context.headers.items()
                ]
                if self._drain.is_draining:
                    headers.append((b"connection", b"close"))
            await send(message)

        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, send_named)
        except Exception as error:  # the one place that answers for everything below
            if status == 0:
                for message in problems.to_answer(scope, error):
                    await send_named(message)
            elif is_stream:
                await self._end_stream(scope, error, send)
            else:
                log.exception("answer_broken_off", extra={"request_id": context.request_id})
        finally:
            for give_back in context.at_end:
                give_back()
            self._metrics.in_flight.dec()
            self._record(scope, context, status, time.perf_counter() - started)

    async def _end_stream(self, scope: Scope, error: Exception, send: Send) -> None:
        """Tell a caller whose stream has begun what went wrong: its status is long sent."""
        self._metrics.count_broken_stream(problems.code_of(error))
        if isinstance(error, CallerLeft):
            return
        frame = problems.to_frame(scope, error)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_FRAME_S):
                await send({"type": "http.response.body", "body": frame})

    def _record(self, scope: Scope, context: RequestContext, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "OTHER"
        endpoint = getattr(scope.get("route"), "path", None) or self._name_route(scope["path"]) or UNMATCHED
        self._metrics.observe_request(method, endpoint, status, seconds)
        if context.model is not None:
            self._metrics.count_tokens(context.model, "in", context.tokens - context.completion_tokens)
            if context.completion_tokens:
                self._metrics.count_tokens(context.model, "out", context.completion_tokens)
        if endpoint in PROBES and status == HTTPStatus.OK:
            return
        self._write_line(
            {
                "event": "request",
                "request_id": context.request_id,
                "method": method,
                "endpoint": endpoint,
                "status": status,
                "duration_ms": int(seconds * 1_000_000) / 1000,
                "key": context.key_name,
                "model": context.model,
                "version": context.version,
                "items": context.items,
                "tokens": context.tokens,
                "completion_tokens": context.completion_tokens,
                "cache": context.cache,
            }
        )


def _is_event_stream(headers: list[tuple[bytes, bytes]]) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/event-stream") for name, value in headers)


def _by_name(headers: list[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Headers by name; lines of one name are one list, as RFC 9110, 5.3, has it: no line hides another."""
    found = dict(headers)
    if len(found) < len(headers):
        lines: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            lines.setdefault(name, []).append(value)
        found = {name: b", ".join(values) for name, values in lines.items()}
    return found


def _request_id(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return str(given, "ascii")
    # Unique, not secret: uuid4 asks the kernel each time, which took 6 % of an answer from memory.
    return f"{random.getrandbits(128):032x}"
