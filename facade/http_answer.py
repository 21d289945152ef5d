"""
The head of an answer, written in one pass.

uvicorn looks at each header with two regular expressions and four comparisons; for the façade's thirteen that took a
tenth of the CPU of an answer from memory. What it checks is checked here for the whole head at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from typing import Any

    from uvicorn._types import ASGI3Application
    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

CONTROLS = bytes(code for code in (*range(0x20), 0x7F) if code != ord("\t"))
"""What no header may hold (RFC 9110, 5.5); CR and LF stand behind each line and nowhere else."""

FRAMING = frozenset({b"connection", b"transfer-encoding"})
"""Headers that say where an answer ends, beside its length: answers that have one go uvicorn's way."""

LENGTH = b"content-length"

BODILESS = frozenset({204, 304})


class QuickAnswer:
    """
    Writes the answer of one request, if it is an ordinary one, in uvicorn's place.

    Ordinary is a body of known length that comes in one piece, on a connection that stays open. All others are
    uvicorn's to write.

    Args:
        cycle: uvicorn's own state of the request.

        app: What answers.
    """

    __slots__ = ("_app", "_cycle")

    def __init__(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._cycle = cycle
        self._app = app

    def __call__(self, scope: Any, receive: Any, _send: Any) -> Awaitable[None]:
        """Have the request answered."""
        return self._app(scope, receive, self.send)

    async def send(self, message: Any) -> None:
        """
        Send one message of the answer.

        Raises:
            RuntimeError: If messages come in a wrong order, or a header can't be sent.
        """
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.disconnected:
            await cycle.send(message)
        elif not cycle.response_started:
            await self._begin(message)
        elif self._is_whole(message):
            cycle.transport.write(message["body"])
            cycle.response_complete = True
            cycle.message_event.set()
            cycle.on_response()
        else:
            await cycle.send(message)

    async def _begin(self, message: Any) -> None:
        cycle = self._cycle
        head = to_head(message) if cycle.keep_alive and not cycle.default_headers else None
        if head is None:
            await cycle.send(message)
            return
        cycle.response_started = True
        cycle.waiting_for_100_continue = False
        cycle.chunked_encoding = False
        cycle.expected_content_length, content = head
        cycle.transport.write(content)

    def _is_whole(self, message: Any) -> bool:
        """Whether this is all of the body, after a head that was written here or could have been."""
        cycle = self._cycle
        return (
            message["type"] == "http.response.body"
            and not message.get("more_body", False)
            and cycle.chunked_encoding is False
            and cycle.keep_alive
            and not cycle.response_complete
            and cycle.scope["method"] != "HEAD"
            and len(message.get("body", b"")) == cycle.expected_content_length > 0
        )


def to_head(message: Any) -> tuple[int, bytes] | None:
    """
    Write an answer's status line and headers.

    Args:
        message: ``http.response.start``.

    Returns:
        The body's length in bytes, and the head; None if the answer isn't an ordinary one.

    Raises:
        RuntimeError: If a header holds a control character, so that one could pass for two.
    """
    if message["type"] != "http.response.start" or message["status"] in BODILESS:
        return None
    length: int | None = None
    lines = [STATUS_LINE[message["status"]]]
    for name, value in message["headers"]:
        if name in FRAMING:
            return None
        if name == LENGTH:
            length = int(value)
        lines.append(b"%s: %s\r\n" % (name, value))
    if length is None:
        return None
    lines.append(b"\r\n")
    head = b"".join(lines)
    if len(head) - len(head.translate(None, CONTROLS)) != 2 * len(lines):
        raise RuntimeError("Invalid HTTP header.")
    return length, head
