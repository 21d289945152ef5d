"""A whole stack under a little traffic, watched by a real Prometheus: Triton, Redis, façade."""

from __future__ import annotations

import contextlib
import hashlib
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import httpx
import yaml

from deploy.local.install import Places, install_triton
from deploy.local.triton import CHECKOUT, TritonServer
from tests.facade.redis_server import RedisServer, free_port
from tests.security.small_repository import CHAT_NAME, MODELS, write_repository
from tests.stack import start_facade

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRAPE_S = 1
"""Seconds between two looks of Prometheus at everything, so that a rate is known soon."""

SECRETS = {"large": "secret-of-the-large-caller", "small": "secret-of-the-small-caller"}

KEYS = """
tiers:
  small: {{requests_per_minute: 2}}
  large: {{requests_per_minute: 100000, tokens_per_minute: 10000000}}
keys:
  - {{name: large, sha256: "{large}", tier: large}}
  - {{name: small, sha256: "{small}", tier: small}}
"""


@dataclass(frozen=True)
class WatchedStack:
    """Where its parts are."""

    facade_url: str
    """The façade's base URL."""

    facade_metrics_url: str
    """Its metrics, as Prometheus reads them."""

    triton_metrics_url: str
    """Triton's."""

    prometheus_url: str
    """Prometheus's base URL."""

    def ask(self, path: str, **parameters: str) -> list[dict[str, Any]]:
        """
        Ask Prometheus.

        Args:
            path: ``query`` or ``query_range``.

            parameters: As its HTTP API has them.

        Returns:
            Series.
        """
        answer = httpx.get(f"{self.prometheus_url}/api/v1/{path}", params=parameters, timeout=30)
        assert answer.status_code == 200, (parameters, answer.text)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found


@contextlib.contextmanager
def watched_stack(folder: Path) -> Iterator[WatchedStack]:
    """
    Start everything, and stop it at the end.

    Args:
        folder: An empty folder.

    Yields:
        Where it is.
    """
    install_triton(Places(CHECKOUT), print)
    (folder / "repository").mkdir()
    keys = folder / "keys.yaml"
    sums = {name: hashlib.sha256(secret.encode()).hexdigest() for name, secret in SECRETS.items()}
    keys.write_text(KEYS.format(**sums))
    repository = write_repository(folder / "repository", *MODELS, CHAT_NAME)
    metrics_port = free_port()
    with TritonServer(repository) as triton, RedisServer() as redis:
        settings = {
            "FACADE_KEYS_FILE": str(keys),
            "FACADE_REDIS_URL": redis.url,
            "FACADE_METRICS_PORT": str(metrics_port),
            "FACADE_DEFAULT_MODEL": "letters",
            "FACADE_FAILURES_PER_MINUTE": "100000",
        }
        targets = {"facade": f"127.0.0.1:{metrics_port}", "triton": triton.metrics_url}
        # The same one by two names: a façade that knows several Tritons has metrics for each.
        tritons = f"{triton.grpc_url},localhost:{triton.grpc_port}"
        with (
            start_facade(tritons, **settings) as facade,
            start_prometheus(folder, targets) as prometheus_url,
        ):
            yield WatchedStack(
                facade.url,
                f"http://{targets['facade']}/metrics",
                f"http://{targets['triton']}/metrics",
                prometheus_url,
            )


@contextlib.contextmanager
def start_prometheus(folder: Path, targets: dict[str, str]) -> Iterator[str]:
    """
    Start a real Prometheus with the project's own rules.

    Args:
        folder: Where it keeps what it needs.

        targets: What it scrapes, by job.

    Yields:
        Its base URL.
    """
    config = {
        "global": {"scrape_interval": f"{SCRAPE_S}s", "evaluation_interval": "1s"},
        "rule_files": [str(CHECKOUT / "deploy" / "prometheus" / "rules" / "*.yml")],
        "scrape_configs": [
            {"job_name": job, "static_configs": [{"targets": [target]}]} for job, target in targets.items()
        ],
    }
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with (folder / "prometheus.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        await_ready(process, url, folder / "prometheus.log")
        yield url
    finally:
        process.terminate()
        process.wait(20)


def await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    """Wait until Prometheus answers."""
    end = time.monotonic() + 30
    while True:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, log.read_text()
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(f"{url}/-/ready").status_code == 200:
                return
        time.sleep(0.05)


class Traffic:
    """
    Callers of every kind, one request after the other.

    Args:
        stack: Whom they call.
    """

    def __init__(self, stack: WatchedStack) -> None:
        self._client = httpx.Client(base_url=stack.facade_url, timeout=20)
        self._round = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def send_round(self, texts: int = 4) -> None:
        """
        Send each kind of request once, and texts as many as are wished.

        Args:
            texts: New inputs of the embedding, beside one that is known already.
        """
        self._round += 1
        new = [f"text {self._round} {number}" for number in range(texts)]
        chat = {"model": CHAT_NAME, "messages": [{"role": "user", "content": new[0]}], "max_tokens": 8}
        self._post("/v1/embeddings", {"model": "letters", "input": [*new, "known"]})
        self._post("/predict", {"prompt": "known"})
        self._post("/v1/classify", {"model": "moods", "input": new[0]})
        self._post("/v1/rerank", {"model": "pairs", "query": "a", "documents": new})
        self._post("/v1/chat/completions", chat)
        self._post("/v1/chat/completions", {**chat, "stream": True})
        self._post("/v1/completions", {"model": CHAT_NAME, "prompt": new[0], "max_tokens": 4})
        self._post("/v1/embeddings", {"model": "nobody", "input": "a"}, expected=404)
        self._post("/v1/embeddings", {"model": "letters"}, expected=400)
        self._post("/v1/embeddings", {"model": "letters", "input": "a"}, caller="wrong", expected=None)
        self._post("/v1/embeddings", {"model": "letters", "input": "a"}, caller="small", expected=None)
        self._post("/nowhere", {}, expected=404)

    def _post(
        self, path: str, body: dict[str, Any], caller: str = "large", expected: int | None = 200
    ) -> None:
        key = SECRETS.get(caller, caller)
        answer = self._client.post(path, json=body, headers={"X-API-Key": key})
        assert expected in {None, answer.status_code}, (path, answer.status_code, answer.text)
