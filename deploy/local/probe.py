"""The question that proves that the whole chain answers: HTTP, key, façade, Triton, tokenizer and graph."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE_S = 0.1


class NotAnswering(Exception):
    """The façade did not give a vector in time; the message has its last answer."""


def wait_for_vector(
    host: str, port: int, key: str, model: str, *, timeout_s: float, check_alive: Callable[[], None]
) -> None:
    """
    Ask for the vector of a text until one comes.

    Args:
        host: Where the façade listens.

        port: Its port.

        key: The API key.

        model: Name of the model.

        timeout_s: Seconds to keep asking.

        check_alive: Called between two questions; raises if there is nobody left to ask.

    Raises:
        NotAnswering: If no vector came in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask_for_vector(host, port, key, model)
        if answer is None:
            return
        check_alive()
        if time.monotonic() > deadline:
            raise NotAnswering(f"no vector came within {timeout_s:.0f} s; the last answer was: {answer}")
        time.sleep(_PAUSE_S)


def ask_for_vector(host: str, port: int, key: str, model: str) -> str | None:
    """
    Ask once.

    Args:
        host: Where the façade listens.

        port: Its port.

        key: The API key.

        model: Name of the model.

    Returns:
        None if a vector came; otherwise what came instead.
    """
    # A façade on all addresses is asked at the nearest of them.
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on
    question = json.dumps({"model": model, "input": "ready?"})
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        with closing(http.client.HTTPConnection(near, port, timeout=10)) as connection:
            connection.request("POST", "/v1/embeddings", question, headers)
            response = connection.getresponse()
            body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    if response.status != http.client.OK:
        return f"{response.status} {body[:500].decode(errors='replace')}"
    try:
        vector = json.loads(body)["data"][0]["embedding"]
    except (ValueError, LookupError, TypeError):
        return f"200 without a vector: {body[:500].decode(errors='replace')}"
    return None if vector else "200 with an empty vector"
