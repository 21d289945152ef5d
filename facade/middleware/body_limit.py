"""Refuses bodies that are too large: by their announced length at once, else while they arrive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from facade.context import context_of
from facade.errors import BodyTooLarge

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class BodyLimit:
    """
    Bound what one request may make us hold.

    Args:
        app: The next layer.

        limit_bytes: Largest body.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit_bytes = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = context_of(scope).request_headers.get(b"content-length", b"")
        if announced.isdigit() and int(announced[:20]) > self._limit_bytes:
            raise self._refusal()
        seen_bytes = 0

        async def receive_bounded() -> Message:
            nonlocal seen_bytes
            message = await receive()
            if message["type"] == "http.request":
                seen_bytes += len(message.get("body", b""))
                if seen_bytes > self._limit_bytes:
                    raise self._refusal()
            return message

        await self._app(scope, receive_bounded, send)

    def _refusal(self) -> BodyTooLarge:
        return BodyTooLarge(
            f"The body is larger than {self._limit_bytes} bytes; send fewer inputs in one request."
        )
