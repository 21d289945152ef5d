"""The Redis that other tests start really starts, freezes, dies and comes back."""

import socket

from tests.facade.redis_server import RedisServer


def ask(server: RedisServer, line: bytes) -> bytes:
    """Send one inline command on a connection of its own and return the answer's first bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as connection:
        connection.sendall(line + b"\r\n")
        return connection.recv(100)


def test_a_started_server_keeps_what_it_is_told_and_a_restarted_one_is_empty() -> None:
    """A restart keeps the port and loses the contents."""
    with RedisServer() as server:
        assert ask(server, b"SET a 1") == b"+OK\r\n"
        assert ask(server, b"GET a") == b"$1\r\n1\r\n"
        server.restart()
        assert ask(server, b"GET a") == b"$-1\r\n"


def test_a_frozen_server_is_silent_and_a_thawed_one_answers() -> None:
    """Freezing stops answers without closing the port."""
    with RedisServer(args=["--maxmemory", "4mb"]) as server:
        server.freeze()
        assert not server.answers()
        server.thaw()
        assert server.answers()
        assert b"4194304" in ask(server, b"CONFIG GET maxmemory")


def test_a_killed_server_is_gone_and_leaves_no_process() -> None:
    """After a kill nothing listens, and leaving the context is harmless."""
    with RedisServer() as server:
        server.kill()
        assert not server.answers()
        server.stop()
