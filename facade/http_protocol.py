"""
The edge where bytes become a request: bounded, and refused in the shape of the surface that was called.

uvicorn's own protocol takes heads (request line and headers) of any size, waits for them without end, answers a
malformed one with a line of plain text, and loses the body of a request that offers an upgrade. It also waits without
end for the rest of a body that it answered early, and for a caller that reads nothing. Most of that comes before
anybody has shown a key.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from facade import problems
from facade.errors import HeadTooLarge, InvalidInput
from facade.http_answer import QuickAnswer

if TYPE_CHECKING:
    import asyncio

    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

    from facade.errors import FacadeError

HEAD_LIMIT_BYTES = 64 * 1024
"""Largest head; uvicorn's other parser has the same bound, nginx takes half of it."""

HEAD_TIMEOUT_S = 20.0
"""
Seconds for a head to become whole, counted from the connection's opening or from the head's first part; and for the
rest of a body whose request is answered already.
"""

STALL_S = 30.0
"""Seconds in which a caller that has an answer to read has to read some of it."""

LINGER_S = 2.0
"""Seconds in which a refused caller may go on sending: a connection closed before would take the answer with it."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, one object a connection, with its heads bounded in size and time."""

    _is_in_head = False
    _pending_bytes = 0
    """Of a head that isn't whole: the parser keeps a header to itself until its end."""

    _head_timer: asyncio.TimerHandle | None = None
    _is_refused = False

    _stall_timer: asyncio.TimerHandle | None = None
    _unread_bytes = 0
    """What the caller hadn't read when the stall timer was set."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first head, but not for ever."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Hold answers back until the caller has read, but not for ever."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._stop_watching()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._is_refused or self.transport.is_closing():
            return
        was_in_head = self._is_in_head
        self._unset_keepalive_if_required()
        self._parse(data)
        if self._is_refused or self.transport.is_closing():
            return
        if not self._is_in_head:
            # Blank lines, or the rest of a body that nobody waits for: either stopped the keep-alive's timer.
            if self._is_idle() and self.timeout_keep_alive_task is None and self._head_timer is None:
                self._wait_for_head()
            return
        # A head usually comes in one piece, and has cost no timer then.
        if self._head_timer is None:
            self._wait_for_head()
        self._pending_bytes += len(data) if was_in_head else 0
        if self._pending_bytes > HEAD_LIMIT_BYTES:
            self._refuse(_too_large())

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._is_in_head, self._pending_bytes = True, 0

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        if self._offers_upgrade():
            return
        self._is_in_head = False
        self._stop_waiting()
        # What is raised here reaches `send_400_response` by way of the parser.
        if self._head_bytes() > HEAD_LIMIT_BYTES:
            raise _too_large()
        super().on_headers_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        super()._start_asgi_task(cycle, QuickAnswer(cycle, app))

    def on_message_complete(self) -> None:
        """End the body."""
        if self._offers_upgrade():
            return
        super().on_message_complete()
        if self._is_idle():
            # It was answered early; from here on the connection is as idle as any.
            self._stop_waiting()
            self._unset_keepalive_if_required()
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def on_response_complete(self) -> None:
        """Begin the next request, or wait for it."""
        super().on_response_complete()
        if self.transport.is_closing() and self.transport.get_write_buffer_size() > 0:
            # Closed means: once everything is read.
            self._watch_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection that is idle; what its caller hasn't read by now it doesn't want."""
        if self.transport.get_write_buffer_size() > 0:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Answer what the parser gave up on."""
        is_too_large = self._head_bytes() > HEAD_LIMIT_BYTES
        self._refuse(_too_large() if is_too_large else InvalidInput(f"{msg} Send well-formed HTTP/1.1."))

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            if not self._offers_upgrade():
                return
            # RFC 9110, 7.8: "A server MAY ignore a received Upgrade header field". Java's client offers HTTP/2 with
            # each first request; the parser would take what follows for the other protocol, and drop the body.
            head = self._write_head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self._parse(head + data[pause.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")

    def _offers_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _write_head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode("ascii")
        lines = [b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _head_bytes(self) -> int:
        if self.headers is None:  # nothing at all could be parsed
            return 0
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _refuse(self, error: FacadeError) -> None:
        self._stop_waiting()
        cycle = self.cycle
        is_free = self._is_idle()
        # A body can be malformed too; then this is the answer to the request that is under way.
        if is_free or (cycle.scope is self.scope and not cycle.response_started):
            path = self.url.decode("latin-1") if self.headers is not None else ""
            self._is_refused = True
            self.transport.write(_to_bytes(path, error))
            self.transport.write_eof()
            self._head_timer = self.loop.call_later(LINGER_S, self.transport.close)
        else:
            # The caller would take it for the answer to an earlier request.
            self.transport.close()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _watch_reading(self) -> None:
        if self._stall_timer is None:
            self._unread_bytes = self.transport.get_write_buffer_size()
            self._stall_timer = self.loop.call_later(STALL_S, self._check_reading)

    def _check_reading(self) -> None:
        self._stall_timer = None
        if self.transport.get_write_buffer_size() >= self._unread_bytes > 0:
            self.transport.abort()
        else:
            self._watch_reading()

    def _stop_watching(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def _wait_for_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        # Without a word: a caller that sends its request just now would take a 408 for the answer.
        self.transport.close()


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"The request line and the headers are larger than {HEAD_LIMIT_BYTES} bytes.")


def _to_bytes(path: str, error: FacadeError) -> bytes:
    """Write a whole HTTP/1.1 answer, after which the connection is closed."""
    response = problems.to_response({"type": "http", "path": path}, error)
    reason = HTTPStatus(response.status_code).phrase
    head = [b"HTTP/1.1 %d %s" % (response.status_code, reason.encode("ascii"))]
    head += [b"%s: %s" % header for header in response.raw_headers]
    return b"\r\n".join([*head, b"connection: close", b"", bytes(response.body)])
