"""
What a request gets back: the deltas of its answers, gathered and written as Triton's vLLM backend writes them.

A streamed request gets a message whenever there is news, with what is new of each of its `n` answers; one that is
not streamed gets a single message at its end. The tensors are those of `src/utils/request.py` of
triton-inference-server/vllm_backend, `create_response`.
"""

import json
import math
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from .choices import Delta

ErrorCode = str
"""Name of one of Triton's error codes: `INVALID_ARG`, `UNAVAILABLE`, `CANCELLED` or `INTERNAL`."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request wants to be told."""

    stream: bool = False
    """Send news as they come."""

    prepend: str = ""
    """What each answer's text begins with: the prompt, unless `exclude_input_in_output`."""

    finish_reason: bool = False
    """Why each answer ended; "None" while it goes on."""

    cumulative_logprob: bool = False
    """The sum of each answer's log probabilities; NaN unless `logprobs` were asked for."""

    logprobs: bool = False
    """Log probabilities of the new tokens, as JSON; "null" unless `logprobs` were asked for."""

    num_input_tokens: bool = False
    """Tokens of the prompt."""

    num_output_tokens: bool = False
    """New tokens of each answer."""


class Message(NamedTuple):
    """One response: tensors by name, or an error."""

    tensors: dict[str, npt.NDArray[Any]]
    """Arrays by output name; of shape (n,) but for `num_input_tokens`, (1,)."""

    is_final: bool
    """Whether nothing follows."""

    error: tuple[str, ErrorCode] | None = None
    """Message and code."""


class Answer:
    """
    What one request gets back.

    The engine's thread adds, the sender's thread sends. After the end, by the last delta or an error, whatever is
    added is dropped.
    """

    def __init__(
        self, wanted: Wanted, n: int, num_input_tokens: int, send: Callable[[Message], None]
    ) -> None:
        """
        Begin.

        Args:
            wanted: What to tell.

            n: How many answers there are.

            num_input_tokens: Tokens of the prompt.

            send: Sends a message; called in the sender's thread.
        """
        self.num_output_tokens = 0
        """Tokens of all answers so far, sent or not."""
        self._wanted = wanted
        self._send = send
        self._num_input_tokens = num_input_tokens
        self._lock = threading.Lock()
        self._news: list[list[Delta]] = [[] for _ in range(n)]
        self._reasons: list[str | None] = [None] * n
        self._sums = [math.nan] * n
        self._error: tuple[str, ErrorCode] | None = None
        self._is_ended = False
        self._is_first = True

    @property
    def is_ended(self) -> bool:
        """Whether nothing will be added any more."""
        return self._is_ended

    def add(self, index: int, delta: Delta) -> bool:
        """
        Add what is new of one answer.

        Args:
            index: Which answer.

            delta: What is new.

        Returns:
            Whether there is something to send now.
        """
        with self._lock:
            if self._is_ended:
                return False
            self._news[index].append(delta)
            self.num_output_tokens += delta.num_tokens
            if delta.cumulative_logprob is not None:
                self._sums[index] = delta.cumulative_logprob
            if delta.finish_reason is not None:
                self._reasons[index] = delta.finish_reason
                self._is_ended = all(self._reasons)
            return self._wanted.stream or self._is_ended

    def fail(self, message: str, code: ErrorCode) -> bool:
        """
        End with an error; what was not sent yet is dropped.

        Args:
            message: What went wrong, for the caller.

            code: Name of Triton's code.

        Returns:
            Whether there is something to send: False if it had ended before.
        """
        with self._lock:
            if self._is_ended:
                return False
            self._is_ended = True
            self._error = (message, code)
            return True

    def send_news(self) -> None:
        """Send everything that is new, as one message; called in the sender's thread."""
        message = self._take()
        if message is not None:
            self._send(message)

    def _take(self) -> Message | None:
        """Take the news; None if there are none, or if they have to wait for the end."""
        with self._lock:
            if self._error is not None:
                return Message({}, is_final=True, error=self._error)
            if not any(self._news) or not (self._wanted.stream or self._is_ended):
                return None
            news, self._news = self._news, [[] for _ in self._news]
            is_final, reasons, sums = self._is_ended, list(self._reasons), list(self._sums)
        tensors = self._to_tensors(news, reasons, sums)
        self._is_first = False
        return Message(tensors, is_final)

    def _to_tensors(
        self, news: list[list[Delta]], reasons: list[str | None], sums: list[float]
    ) -> dict[str, npt.NDArray[Any]]:
        """Write the tensors that are wanted."""
        wanted = self._wanted
        start = wanted.prepend if self._is_first else ""
        texts = [start + "".join(delta.text for delta in deltas) for deltas in news]
        tensors: dict[str, npt.NDArray[Any]] = {"text_output": _to_bytes(texts)}
        if wanted.finish_reason:
            tensors["finish_reason"] = _to_bytes([str(reason) for reason in reasons])
        if wanted.cumulative_logprob:
            tensors["cumulative_logprob"] = np.array(sums, dtype=np.float32)
        if wanted.logprobs:
            tensors["logprobs"] = _to_bytes(_logprobs_to_json(news))
        if wanted.num_input_tokens:
            tensors["num_input_tokens"] = np.array([self._num_input_tokens], dtype=np.uint32)
        if wanted.num_output_tokens:
            counts = [sum(delta.num_tokens for delta in deltas) for deltas in news]
            tensors["num_output_tokens"] = np.array(counts, dtype=np.uint32)
        return tensors


def _logprobs_to_json(news: list[list[Delta]]) -> list[str]:
    """Write the log probabilities of each answer's new tokens; "null" if none were asked for."""
    if all(delta.logprobs is None for deltas in news for delta in deltas):
        return ["null"] * len(news)
    return [json.dumps([entry for delta in deltas for entry in delta.logprobs or ()]) for deltas in news]


def _to_bytes(texts: list[str]) -> npt.NDArray[np.object_]:
    """Make a BYTES tensor's array."""
    return np.array([text.encode() for text in texts], dtype=np.object_)
