"""
A small HTTP/1.1 client over one kept connection, for load only: it must not cost what it measures.

It sends requests that were made beforehand and reads answers that have a Content-Length; anything else is an error.
"""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple


class Answer(NamedTuple):
    """What came back."""

    status: int
    """HTTP status."""

    body: bytes
    """The whole body."""


class AnswerUnreadable(Exception):
    """The server spoke something that this client doesn't read, or hung up."""


def make_request(host: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    """
    Write a POST request.

    Args:
        host: ``host:port``.

        path: The route.

        headers: Further headers.

        body: JSON.

    Returns:
        All its bytes.
    """
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", "content-type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"content-length: {len(body)}")
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + body


def make_get(host: str, path: str, headers: dict[str, str]) -> bytes:
    """
    Write a GET request.

    Args:
        host: ``host:port``.

        path: The route.

        headers: Further headers.

    Returns:
        All its bytes.
    """
    lines = [
        f"GET {path} HTTP/1.1",
        f"host: {host}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"


def embeddings_body(model: str, text: str) -> bytes:
    """
    Write the body of ``POST /v1/embeddings`` for one text.

    Args:
        model: The model's name.

        text: What is to be encoded.

    Returns:
        JSON.
    """
    return json.dumps({"model": model, "input": text, "encoding_format": "base64"}).encode("ascii")


def read_head(head: bytes) -> tuple[int, int]:
    """
    Read status and body length out of an answer's head.

    Args:
        head: Status line and headers, without the empty line.

    Returns:
        The status, and the body's length in bytes.

    Raises:
        AnswerUnreadable: If there is no Content-Length, or it isn't HTTP.
    """
    lines = head.lower().split(b"\r\n")
    first = lines[0].split(b" ", 2)
    if len(first) < 2 or not first[0].startswith(b"http/1.") or not first[1].isdigit():
        raise AnswerUnreadable(f"not HTTP: {head[:100]!r}")
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(first[1]), int(value)
    raise AnswerUnreadable(f"an answer without Content-Length: {head[:100]!r}")


class Connection(asyncio.Protocol):
    """One connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self.head = b""
        """Status line and headers of the latest answer."""
        self._status = 0
        self._body_start = 0
        self._end = 0
        self._answer: asyncio.Future[Answer] | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Connection:
        """
        Connect.

        Args:
            host: Address.

            port: Port.

        Returns:
            The connection.
        """
        _, connection = await asyncio.get_running_loop().create_connection(cls, host, port)
        return connection

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> Answer:
        """
        Send a request and wait for its answer.

        Args:
            request: All its bytes.

        Returns:
            The answer.

        Raises:
            AnswerUnreadable: If there is none.
        """
        if self._transport is None or not self.is_open:
            raise AnswerUnreadable("the connection is closed")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self._transport = transport  # type: ignore[assignment]  # a TCP connection's always is one

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self._fail(AnswerUnreadable(f"the server hung up: {exc or 'no reason given'}"))

    def data_received(self, data: bytes) -> None:
        """Gather an answer; complete, it goes to who waits."""
        self._received += data
        if self._end == 0:
            head_end = self._received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            try:
                self.head = bytes(self._received[:head_end])
                self._status, length = read_head(self.head)
            except AnswerUnreadable as error:
                self._fail(error)
                self.close()
                return
            self._body_start = head_end + 4
            self._end = self._body_start + length
        if len(self._received) >= self._end and self._answer is not None and not self._answer.done():
            answer = Answer(self._status, bytes(self._received[self._body_start : self._end]))
            del self._received[: self._end]
            self._end = 0
            self._answer.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)
