"""``triton-facade serve`` as a process: starts, listens, stops, and says what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import httpx
import pytest

from facade.commands.serve import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = "only-for-this-test"


def command(*arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command line with an environment of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FACADE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "facade", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**kept, "FACADE_TRITON_URL": "127.0.0.1:1", "FACADE_METRICS_PORT": "", **environment},
    )


@pytest.fixture(name="running")
def _running() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A façade on a free port, without any Triton."""
    process = command("serve", "--port", "0", FACADE_API_KEY=KEY, FACADE_DRAIN_S="1")
    assert process.stderr is not None
    line = process.stderr.readline()
    assert "listens on http://127.0.0.1:" in line
    yield process, line.split()[-1]
    process.kill()
    process.communicate()


def test_it_answers_and_stops_on_sigterm(running: tuple[subprocess.Popen[str], str]) -> None:
    """Live at once, not ready without a Triton, 503 for calls, exit code 0."""
    process, url = running
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(base_url=url, transport=transport, headers={"X-API-Key": KEY}) as client:
        assert client.get("/health/live").status_code == 200
        assert client.get("/health/ready").status_code == 503
        call = client.post("/v1/embeddings", json={"model": "minilm", "input": "a"})
        assert call.status_code == 503
        assert call.json()["error"]["code"] == "backend_unavailable"
        assert client.get("/v1/models").status_code == 503
        assert client.get("/docs").status_code == 404
    process.send_signal(signal.SIGTERM)

    assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("environment", "code", "words"),
    [
        ({}, 2, "Neither FACADE_API_KEY nor FACADE_KEYS_FILE"),
        ({"FACADE_API_KEY": "k", "FACADE_BODY_LIMIT_BYTES": "many"}, 2, "FACADE_BODY_LIMIT_BYTES"),
        ({"FACADE_API_KEY": "k", "FACADE_SECRETS_DIR": "/nowhere"}, 2, "FACADE_SECRETS_DIR: /nowhere"),
        ({"FACADE_API_KEY": "k", "FACADE_SECRETS_DIR": "/etc/passwd"}, 2, "FACADE_SECRETS_DIR: /etc/passwd"),
    ],
)
def test_wrong_settings_are_said_in_words(environment: dict[str, str], code: int, words: str) -> None:
    """No traceback, exit code 2."""
    process = command("serve", **environment)
    _, said = process.communicate(timeout=30)

    assert process.returncode == code
    assert words in said
    assert "Traceback" not in said


def test_secrets_may_be_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stands for the variable of its name; the environment counts before it; a wrong one isn't quoted."""
    monkeypatch.setenv("FACADE_SECRETS_DIR", str(tmp_path))
    (tmp_path / "facade_api_key").write_text("from-a-file\n")
    (tmp_path / "facade_redis_url").write_text("redis://:hush@redis:6379/0\n")
    settings = read_settings({})
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "from-a-file"
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:hush@redis:6379/0"

    monkeypatch.setenv("FACADE_API_KEY", "from-the-environment")
    chosen = read_settings({}).api_key
    assert chosen is not None
    assert chosen.get_secret_value() == "from-the-environment"

    (tmp_path / "facade_redis_url").write_text("hush://hush")
    with pytest.raises(click.UsageError) as refused:
        read_settings({})
    assert "FACADE_REDIS_URL" in refused.value.message
    assert "hush" not in refused.value.message


def test_a_port_already_taken_is_one_sentence() -> None:
    """Exit code 3, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        process = command("serve", "--port", str(taken.getsockname()[1]), FACADE_API_KEY="k")
        _, said = process.communicate(timeout=30)

    assert process.returncode == 3
    assert "Choose another with --host or --port" in said
    assert "Traceback" not in said


def test_help_answers_without_the_server() -> None:
    """--help doesn't load what only serving needs."""
    code = (
        "import sys; from facade.__main__ import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'fastapi', 'grpc', 'uvicorn', 'numpy'} & set(sys.modules)), file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stderr.strip() == "[]"
    assert "FACADE_TRITON_URL" in found.stdout


def test_a_drain_serves_on_and_turns_callers_away(running: tuple[subprocess.Popen[str], str]) -> None:
    """After SIGTERM readiness is false, new connections still work and are told to close."""
    process, url = running
    with httpx.Client(base_url=url, headers={"X-API-Key": KEY}) as client:
        assert "connection" not in client.get("/health/live").headers
        process.send_signal(signal.SIGTERM)
        while (answer := client.get("/health/ready")).json()["reason"] != "The façade is shutting down.":
            pass
        assert answer.headers["connection"] == "close"
        assert client.get("/health/live").status_code == 200

    assert process.wait(20) == 0


def test_a_second_signal_cuts_the_drain_short() -> None:
    """Somebody who presses Ctrl-C twice means it."""
    process = command("serve", "--port", "0", FACADE_API_KEY=KEY, FACADE_DRAIN_S="600")
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1]
    transport = httpx.HTTPTransport(retries=3)
    with httpx.Client(base_url=url, transport=transport) as client:
        client.get("/health/live")
        process.send_signal(signal.SIGTERM)
        while client.get("/health/ready").json()["reason"] != "The façade is shutting down.":
            pass
    process.send_signal(signal.SIGINT)

    assert process.wait(20) == 0
    process.communicate()
