"""The questions that prove that the whole chain answers: HTTP, key, façade, Triton, tokenizer and graph."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from deploy.local.model import EMBEDDING, GENERATION, ServedModel

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE_S = 0.1


class NotAnswering(Exception):
    """A model did not answer in time; the message has what came instead."""


def wait_for_answer(
    host: str, port: int, key: str, model: ServedModel, *, timeout_s: float, check_alive: Callable[[], None]
) -> None:
    """
    Ask a model until an answer comes.

    Args:
        host: Where the façade listens.

        port: Its port.

        key: The API key.

        model: The model.

        timeout_s: Seconds to keep asking.

        check_alive: Called between two questions; raises if there is nobody left to ask.

    Raises:
        NotAnswering: If no answer came in time.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        answer = ask(host, port, key, model)
        if answer is None:
            return
        check_alive()
        if time.monotonic() > deadline:
            raise NotAnswering(
                f"{model.name} gave no answer within {timeout_s:.0f} s; the last one was: {answer}"
            )
        time.sleep(_PAUSE_S)


def ask(host: str, port: int, key: str, model: ServedModel) -> str | None:
    """
    Ask once.

    Args:
        host: Where the façade listens.

        port: Its port.

        key: The API key.

        model: The model.

    Returns:
        None if an answer came; otherwise what came instead.
    """
    method, path, question, read = _question(model)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    try:
        with closing(http.client.HTTPConnection(_nearest(host), port, timeout=10)) as connection:
            connection.request(method, path, None if question is None else json.dumps(question), headers)
            response = connection.getresponse()
            body = response.read()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    if response.status != http.client.OK:
        return f"{response.status} {body[:500].decode(errors='replace')}"
    try:
        found = read(json.loads(body))
    except (ValueError, LookupError, TypeError):
        return f"200 without an answer: {body[:500].decode(errors='replace')}"
    return None if found else "200 with an empty answer"


def has_page(host: str, port: int) -> bool:
    """
    Ask whether the façade serves its page; its own settings decide that.

    Args:
        host: Where the façade listens.

        port: Its port.

    Returns:
        Whether it does.
    """
    try:
        with closing(http.client.HTTPConnection(_nearest(host), port, timeout=10)) as connection:
            connection.request("HEAD", "/ui")
            return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False


def _nearest(host: str) -> str:
    """A façade on all addresses is asked at the nearest of them."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not listened on


def _question(model: ServedModel) -> tuple[str, str, dict[str, Any] | None, Callable[[Any], Any]]:
    """Choose what a model is asked by what it does, and where the answer is."""
    if model.task == EMBEDDING:
        body: dict[str, Any] = {"model": model.name, "input": "ready?"}
        return "POST", "/v1/embeddings", body, lambda answer: answer["data"][0]["embedding"]
    if model.task == GENERATION:
        body = {"model": model.name, "prompt": "ready?", "max_tokens": 1, "temperature": 0}
        return "POST", "/v1/completions", body, lambda answer: answer["usage"]["completion_tokens"]
    return "GET", f"/v1/models/{model.name}", None, lambda answer: answer["id"]
