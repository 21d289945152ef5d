"""
What leaves: the only way to Triton's response senders, and the thread that writes to them.

NOTE: `is_cancelled()` on a sender whose FINAL flag was sent, or is being sent by another thread, is a use after free
in Triton's `TRITONBACKEND_ResponseFactoryIsCancelled`: the whole server dies with SIGSEGV, all models with it. Hence
`GuardedSender`: one lock, one closed flag, and nobody else holds Triton's object.

The engine's thread never sends: writing to Triton takes longer than a small model's token. It adds what is new to an
answer and goes on; the `Outbox`'s thread sends. What gathers for one request meanwhile leaves as one message.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol


class GuardedSender:
    """A Triton response sender behind a lock; safe to ask and to send from any thread, at any time."""

    def __init__(self, sender: Any, final_flag: int) -> None:
        """
        Guard a sender.

        Args:
            sender: What `request.get_response_sender()` gave; nobody else may keep it.

            final_flag: Triton's `TRITONSERVER_RESPONSE_COMPLETE_FINAL`.
        """
        self._sender = sender
        self._final_flag = final_flag
        self._lock = threading.Lock()
        self._is_closed = False

    def send(self, response: Any, *, is_final: bool) -> bool:
        """
        Send a response, unless the last one was sent.

        Args:
            response: Triton's response.

            is_final: Whether it is the last one.

        Returns:
            Whether it was sent.
        """
        with self._lock:
            if self._is_closed:
                return False
            self._is_closed = is_final
            self._sender.send(response, flags=self._final_flag if is_final else 0)
            return True

    def finish(self) -> None:
        """Close the request without another response, unless it is closed."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._sender.send(flags=self._final_flag)

    def is_cancelled(self) -> bool:
        """Tell whether the caller gave up; False once the last response was sent."""
        with self._lock:
            return not self._is_closed and bool(self._sender.is_cancelled())


class Sendable(Protocol):
    """Something that has news for its caller from time to time."""

    def send_news(self) -> None:
        """Send everything that is new, as one message; nothing if there is nothing."""


class Outbox:
    """A thread that sends; what is told twice before its turn comes is sent once."""

    def __init__(self, log_error: Callable[[str], None]) -> None:
        """
        Start the thread.

        Args:
            log_error: Takes a line about a message that could not be sent.
        """
        self._log_error = log_error
        # Bounded by the requests under way: each is in it at most once.
        self._ready: deque[Sendable] = deque()
        self._waiting: set[Sendable] = set()
        self._changed = threading.Condition()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="decoder-sender", daemon=True)
        self._thread.start()

    def tell(self, answer: Sendable) -> None:
        """Note that an answer has news."""
        with self._changed:
            if answer not in self._waiting:
                self._waiting.add(answer)
                self._ready.append(answer)
                self._changed.notify()

    def close(self) -> None:
        """Send what is left and end the thread."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._ready and not self._is_closing:
                    self._changed.wait()
                if not self._ready:
                    return
                answer = self._ready.popleft()
                # From now on news are for the next turn, for this one may have been taken already.
                self._waiting.discard(answer)
            try:
                answer.send_news()
            except Exception as error:  # noqa: BLE001 - one caller's broken stream must not end everybody's
                self._log_error(f"A response could not be sent: {error}")
