"""The proof that the chain answers, against HTTP servers that answer well, badly, and not at all."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from deploy.local.model import ServedModel
from deploy.local.probe import NotAnswering, ask, has_page, wait_for_answer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(name="serve")
def _serve() -> Iterator[Callable[..., int]]:
    """Serve prepared answers, the last one for ever; returns the port. What is asked is kept in `asked`."""
    servers: list[ThreadingHTTPServer] = []

    def serve(*answers: tuple[int, Any], asked: list[Any] | None = None) -> int:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.do_POST()

            def do_HEAD(self) -> None:
                self.do_POST()

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or "null")
                if asked is not None:
                    asked.append((self.path, self.headers["Authorization"], body))
                status, answer = left.pop(0) if len(left) > 1 else left[0]
                self.send_response(status)
                self.end_headers()
                self.wfile.write(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

            def log_message(self, *_args: Any) -> None:
                """Stay quiet."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever).start()
        servers.append(server)
        return int(server.server_address[1])

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


VECTOR = {"data": [{"embedding": [0.1, 0.2]}]}
EMBEDDER = ServedModel("minilm", "embedding")
GENERATOR = ServedModel("tiny-chat", "text-generation", can_chat=True)


def test_a_vector_is_asked_for_with_the_key(serve: Callable[..., int]) -> None:
    """The question is an ordinary one."""
    asked: list[Any] = []
    port = serve((200, VECTOR), asked=asked)

    assert ask("0.0.0.0", port, "secret", EMBEDDER) is None

    assert asked == [("/v1/embeddings", "Bearer secret", {"model": "minilm", "input": "ready?"})]


def test_a_generator_is_asked_for_one_token(serve: Callable[..., int]) -> None:
    """By the route that needs no chat template; the text may well be empty."""
    asked: list[Any] = []
    port = serve((200, {"choices": [{"text": ""}], "usage": {"completion_tokens": 1}}), asked=asked)

    assert ask("127.0.0.1", port, "secret", GENERATOR) is None

    body = {"model": "tiny-chat", "prompt": "ready?", "max_tokens": 1, "temperature": 0}
    assert asked == [("/v1/completions", "Bearer secret", body)]


def test_whether_there_is_a_page_is_asked(serve: Callable[..., int]) -> None:
    """A façade that keeps it closed, or is gone, has none."""
    closed_port = serve((401, {}))

    assert has_page("0.0.0.0", serve((200, b"")))
    assert not has_page("127.0.0.1", closed_port)
    assert not has_page("127.0.0.1", 1)


def test_any_other_model_has_to_be_known(serve: Callable[..., int]) -> None:
    """What it takes isn't known here."""
    asked: list[Any] = []
    port = serve((200, {"id": "vit"}), asked=asked)

    assert ask("127.0.0.1", port, "secret", ServedModel("vit", "image-classification")) is None
    assert asked == [("/v1/models/vit", "Bearer secret", None)]


@pytest.mark.parametrize(
    ("status", "answer", "words"),
    [
        (503, {"error": {"message": "Triton is away"}}, "503 "),
        (200, {"data": []}, "200 without an answer"),
        (200, b"<html>", "200 without an answer"),
        (200, {"data": [{"embedding": []}]}, "empty answer"),
    ],
)
def test_anything_else_is_reported(serve: Callable[..., int], status: int, answer: Any, words: str) -> None:
    """So that the user reads what came instead."""
    outcome = ask("127.0.0.1", serve((status, answer)), "secret", EMBEDDER)

    assert outcome is not None
    assert words in outcome


def test_it_keeps_asking_until_an_answer_comes(serve: Callable[..., int]) -> None:
    """Between two questions it looks whether anybody is there."""
    looks: list[None] = []
    port = serve((503, {}), (404, {}), (200, VECTOR))

    wait_for_answer("127.0.0.1", port, "k", EMBEDDER, timeout_s=30, check_alive=lambda: looks.append(None))

    assert len(looks) == 2


def test_it_gives_up_with_the_last_answer(serve: Callable[..., int]) -> None:
    """After the time it was given."""
    port = serve((401, {"error": "who are you"}))

    with pytest.raises(NotAnswering, match=r"401.*who are you"):
        wait_for_answer("127.0.0.1", port, "k", EMBEDDER, timeout_s=0.2, check_alive=lambda: None)


def test_a_dead_server_is_the_askers_failure(serve: Callable[..., int]) -> None:
    """What the look around raises is passed on."""

    class DeadError(Exception):
        pass

    def look() -> None:
        raise DeadError

    with pytest.raises(DeadError):
        wait_for_answer("127.0.0.1", serve((503, {})), "k", EMBEDDER, timeout_s=30, check_alive=look)
