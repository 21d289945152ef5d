"""Secrets and texts stay where they belong, whatever goes wrong: not in logs, metrics, traces, errors, or ``ps``."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import httpx
import pytest
from click.testing import CliRunner

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from facade.commands.serve import serve
from tests.facade.redis_server import RedisServer
from tests.security.small_repository import CHAT_NAME, CRASH, MODEL_NAME, write_repository
from tests.stack import KEY, Facade, facade_environment, start_facade

if TYPE_CHECKING:
    from collections.abc import Iterator

PASSWORD = "password-of-the-redis"
COLLECTOR_PASSWORD = "password-of-the-collector"
WRONG_KEY = "key-that-somebody-mistyped"
TEXT = "text-that-nobody-else-may-read"
SECRETS = (KEY, PASSWORD, COLLECTOR_PASSWORD, WRONG_KEY)


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes what OpenTelemetry sends, and keeps it as it is."""

    taken: bytes = b""

    def do_POST(self) -> None:
        """Keep one export."""
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = zlib.decompress(body, 31)
        type(self).taken += body
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Stage(NamedTuple):
    """A façade in trouble."""

    facade: Facade
    triton: TritonServer
    redis: RedisServer

    def call(self, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Send a request with the key, or with other headers."""
        return httpx.post(
            f"{self.facade.url}{path}", json=body, headers=headers or {"X-API-Key": KEY}, timeout=30
        )

    def send_raw(self, data: bytes) -> bytes:
        """Send bytes, and read until the end."""
        parts = urlsplit(self.facade.url)
        with socket.create_connection((parts.hostname, parts.port), timeout=30) as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.fixture(name="stage", scope="module")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two workers at log level debug, with traces, before a real Triton and a real Redis that wants a password."""
    install_triton(Places(CHECKOUT), print)
    repository = write_repository(tmp_path_factory.mktemp("repository"), MODEL_NAME, CHAT_NAME)
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    with TritonServer(repository) as triton, RedisServer(args=["--requirepass", PASSWORD]) as redis:
        settings = {
            "FACADE_REDIS_URL": redis.url.replace("redis://", f"redis://:{PASSWORD}@"),
            "FACADE_OTLP_ENDPOINT": f"http://user:{COLLECTOR_PASSWORD}@127.0.0.1:{collector.server_port}",
            "FACADE_LOG_LEVEL": "debug",
            "FACADE_WORKERS": "2",
            "FACADE_ENVIRONMENT": "development",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with start_facade(triton.grpc_url, **settings) as facade:
            yield Stage(facade, triton, redis)
    collector.shutdown()
    collector.server_close()


@pytest.fixture(name="seen", scope="module")
def _seen(stage: Stage) -> list[str]:
    """All that came back while everything went wrong."""
    answers = [*make_callers_mistakes(stage), *break_redis(stage), *break_triton(stage)]
    assert {200, 400, 401, 404, 413, 502, 503} <= {answer.status_code for answer in answers}
    raw = [
        stage.send_raw(f"GET /v1/models HTTP/1.1\r\nX-API-Key: {KEY}\r\nBroken\r\n\r\n".encode()),
        stage.send_raw(
            f"GET /v1/models HTTP/1.1\r\nX-API-Key: {KEY}\r\nX-A: {'a' * 70_000}\r\n\r\n".encode()
        ),
    ]
    metrics = httpx.get(f"{stage.facade.url}/metrics", headers={"X-API-Key": KEY}).text
    return [*(f"{answer.headers}{answer.text}" for answer in answers), *map(repr, raw), metrics]


def make_callers_mistakes(stage: Stage) -> list[httpx.Response]:
    """Send what callers get wrong, with secrets in places where they don't belong."""
    return [
        stage.call("/v1/embeddings", {"model": MODEL_NAME, "input": TEXT}),
        stage.call("/v1/embeddings", {"model": MODEL_NAME, "input": TEXT, "dimensions": 99}),
        stage.call(
            "/v1/embeddings", {"model": MODEL_NAME, "input": TEXT}, Authorization=f"Bearer {WRONG_KEY}"
        ),
        stage.call("/v1/embeddings", {}, Authorization=f"Basic {WRONG_KEY}"),
        stage.call(f"/v1/embeddings?api_key={KEY}", {"model": MODEL_NAME, "input": TEXT}),
        stage.call("/nowhere", {"input": TEXT}),
        stage.call("/predict", {"prompt": TEXT * 400_000}),
        stage.call(
            "/v1/chat/completions", {"model": CHAT_NAME, "messages": [{"role": TEXT, "content": TEXT}]}
        ),
        stage.call(
            "/v1/chat/completions", {"model": CHAT_NAME, "messages": [{"role": "user", "content": TEXT}]}
        ),
        stage.call(
            f"/v2/models/{CHAT_NAME}/generate_stream", {"text_input": TEXT, "parameters": {"max_tokens": 3}}
        ),
        stage.call(
            "/v1/embeddings",
            {"model": MODEL_NAME, "input": TEXT},
            **{"X-API-Key": KEY, "Cache-Control": TEXT},
        ),
    ]


def break_triton(stage: Stage) -> list[httpx.Response]:
    """Have a model fail with the text in its own message, then the whole of Triton."""
    answers = [stage.call("/v1/embeddings", {"model": MODEL_NAME, "input": f"{CRASH} {TEXT}"})]
    stage.triton.kill()
    answers += [stage.call("/v1/embeddings", {"model": MODEL_NAME, "input": f"{TEXT} {i}"}) for i in range(3)]
    return answers


def break_redis(stage: Stage) -> list[httpx.Response]:
    """Take Redis away; bring it back with another password."""
    stage.redis.kill()
    answers = [
        stage.call("/v1/embeddings", {"model": MODEL_NAME, "input": f"{TEXT} a{i}"}) for i in range(10)
    ]
    with RedisServer(port=stage.redis.port, args=["--requirepass", "another"]):
        answers += [
            stage.call("/v1/embeddings", {"model": MODEL_NAME, "input": f"{TEXT} b{i}"}) for i in range(30)
        ]
    return answers


def test_no_secret_in_what_comes_back(seen: list[str]) -> None:
    """Not in bodies, headers or metrics, of whatever status."""
    for text in seen:
        assert not [secret for secret in SECRETS if secret in text], text[:2000]


def test_no_secret_and_no_text_in_the_log(stage: Stage, seen: list[str]) -> None:
    """At level debug, with tracebacks; the log has lines of what went wrong."""
    # The façade looks for its Triton once a second.
    end = time.monotonic() + 30
    while "triton_lost" not in (log := stage.facade.read_log()):
        assert time.monotonic() < end, log[-2000:]
        time.sleep(0.05)

    assert '"status":502' in log
    for line in log.splitlines():
        assert not [secret for secret in (*SECRETS, TEXT) if secret in line], line[:2000]


def test_no_secret_and_no_text_in_traces(stage: Stage, seen: list[str]) -> None:
    """Spans are exported, and have neither, also where a caller puts its key into the URL."""
    end = time.monotonic() + 30
    while b"/v1/embeddings" not in Collector.taken or b"ModelInfer" not in Collector.taken:
        assert time.monotonic() < end, "no spans came"
        time.sleep(0.1)

    for secret in (*SECRETS, TEXT):
        assert secret.encode() not in Collector.taken


def test_no_secret_in_ps(stage: Stage) -> None:
    """Neither the façade's command line nor its workers' has one."""
    parent = stage.facade.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert len(children) >= 2
    for pid in (str(parent), *children):
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert b"facade" in command
        for secret in SECRETS:
            assert secret.encode() not in command


@pytest.mark.parametrize(
    "environment",
    [
        {"FACADE_REDIS_URL": f"redis://:{PASSWORD}@host:port"},
        {"FACADE_REDIS_URL": f"http://:{PASSWORD}@host"},
        {"FACADE_QUOTA_REDIS_URL": f"redis+cluster://:{PASSWORD}@host"},
        {"FACADE_API_KEY": KEY, "FACADE_KEYS_FILE": "/nowhere/keys.yaml"},
        {"FACADE_API_KEY": KEY, "FACADE_WORKERS": WRONG_KEY},
        {"FACADE_API_KEY": KEY, "FACADE_OTLP_ENDPOINT": f"ftp://:{COLLECTOR_PASSWORD}@host"},
    ],
)
def test_no_secret_in_why_it_did_not_start(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    """The setting is named and its value isn't."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = CliRunner().invoke(serve)

    assert found.exit_code == 2
    assert "FACADE_" in found.output
    assert not [secret for secret in SECRETS if secret in found.output]


def test_a_key_written_where_its_hash_belongs_is_not_repeated(tmp_path: Path) -> None:
    """The file's mistake is named by its place."""
    keys = tmp_path / "keys.yaml"
    keys.write_text(f"tiers: {{free: {{}}}}\nkeys: [{{name: alice, sha256: {WRONG_KEY}, tier: free}}]\n")
    settings = facade_environment("127.0.0.1:1", FACADE_KEYS_FILE=str(keys), FACADE_LOG_LEVEL="debug")
    found = run("serve", "--port", "0", environment=settings)

    assert found.returncode == 2
    assert "sha256" in found.stderr
    assert WRONG_KEY not in found.stdout + found.stderr


def run(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the façade's command line until it ends."""
    command = [sys.executable, "-m", "facade", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)


def test_purging_a_cache_that_cant_be_reached_names_no_password() -> None:
    """The operator's command says that it failed, without a traceback."""
    settings = facade_environment("127.0.0.1:1", FACADE_REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1")
    found = run("cache", "purge", "--model", "a", environment=settings)

    assert found.returncode != 0
    assert PASSWORD not in found.stdout + found.stderr
    assert "Traceback" not in found.stderr
