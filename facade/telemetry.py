"""What is seen from outside: Prometheus metrics under the guide's names, and one structured log line a request."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Literal

import orjson
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    start_http_server,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector

if TYPE_CHECKING:
    from collections.abc import Callable

log = logging.getLogger(__name__)

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""From a cache hit to the default deadline; 2 s is the alert's bound, so it is a bucket's edge."""

STAGE_BUCKETS_S = (1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)
"""From ten microseconds, an authentication, to ten seconds, a model in trouble."""

TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 30.0)
"""From a toy's token to the first token of a long prompt behind a full queue."""

BREAKER_VALUES = {"closed": 0.0, "half-open": 0.5, "open": 1.0}

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

MAX_VERSION_LABELS = 200
"""Versions of models that one process names in metrics: each is about twenty series, and years of releases."""

INDEX_VARIABLE = "FACADE_WORKER_INDEX"
"""Environment variable: which of several workers this process is. The index is stable over restarts."""

MULTIPROC_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable (prometheus_client's own): where several workers keep their counters."""

QUIET_LOGGERS = ("uvicorn.access", "uvicorn.error", "uvicorn", "grpc")
"""Libraries of which only warnings are written, whatever the level: gRPC says a line for each call at "debug"."""

GaugeMode = Literal["livesum", "livemin", "livemax"]

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Metrics:
    """
    All metrics of one process, in a registry of their own.

    Children are kept by label values: looking one up in prometheus_client costs more than counting.
    """

    def __init__(self) -> None:
        self._shared_folder = os.environ.get(MULTIPROC_VARIABLE)
        if self._shared_folder is not None:
            # By the worker's index and not by its pid: files of dead workers would pile up and slow every scrape.
            index = os.environ.get(INDEX_VARIABLE, "0")
            values.ValueClass = values.MultiProcessValue(lambda: index)  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []
        self._requests = Counter(
            "api_requests_total",
            "Requests answered, by method, route and status.",
            ("method", "endpoint", "status"),
            registry=self.registry,
        )
        self._latency = Histogram(
            "api_request_latency_seconds",
            "From the first byte read to the last byte written, in seconds.",
            ("method", "endpoint"),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._batch_size = Histogram(
            "facade_batch_size",
            "Items in one merged call to Triton.",
            ("model",),
            buckets=BATCH_BUCKETS,
            registry=self.registry,
        )
        self._queue_wait = Histogram(
            "facade_queue_wait_seconds",
            "Longest time that an item of a merged call waited for it, in seconds.",
            ("model",),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._tokens = Counter(
            "facade_tokens_total",
            "Tokens by model and direction.",
            ("model", "direction"),
            registry=self.registry,
        )
        self._stages = Histogram(
            "facade_stage_seconds",
            "Time spent in one stage of a request (queue and triton: of a merged call), in seconds.",
            ("stage",),
            buckets=STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._calls = Counter(
            "facade_model_calls_total",
            "Calls to Triton by model, version and outcome (ok, failed, given-up).",
            ("model", "version", "outcome"),
            registry=self.registry,
        )
        self._call_latency = Histogram(
            "facade_model_call_seconds",
            "Time of one call to Triton that was answered (of a stream: to its first piece), in seconds.",
            ("model", "version"),
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._canary_dropped = Gauge(
            "facade_canary_dropped",
            "1 while a canary gets no callers because it was clearly worse than stable.",
            ("model", "version"),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._versions: set[tuple[str, int]] = set()
        self._cache_items = Counter(
            "facade_cache_items_total",
            "Items by where their answer came from.",
            ("outcome",),
            registry=self.registry,
        )
        self._cache_trouble = Counter(
            "facade_cache_trouble_total",
            "Items that Redis lost, refused or garbled.",
            ("kind",),
            registry=self.registry,
        )
        self._redis_wait = Histogram(
            "facade_redis_wait_seconds",
            "Time that callers waited for Redis, in seconds.",
            ("operation",),
            buckets=STAGE_BUCKETS_S,
            registry=self.registry,
        )
        self._breaker = Gauge(
            "facade_breaker_open",
            "Breaker of a dependency: 0 closed, 0.5 half-open, 1 open.",
            ("name",),
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self._refusals = Counter(
            "facade_quota_refusals_total",
            "Requests refused for their tier's quota.",
            ("tier",),
            registry=self.registry,
        )
        self._shared_quota = Gauge(
            "facade_quota_shared",
            "1 while quotas are counted together, 0 while each process or host grants its share alone.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._keys_current = Gauge(
            "facade_keys_file_current",
            "1 if the keys in use are those of the file, 0 if the file's last edit is broken.",
            registry=self.registry,
            multiprocess_mode="livemin",
        )
        self._keys = Gauge(
            "facade_keys", "Keys that are known.", registry=self.registry, multiprocess_mode="livemax"
        )
        self.in_flight = Gauge(
            "facade_requests_in_flight",
            "Requests being answered now.",
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._broken_streams = Counter(
            "facade_streams_broken_total",
            "Streams that ended early, after a status of 200, by the error's code.",
            ("code",),
            registry=self.registry,
        )
        self._first_token = Histogram(
            "facade_time_to_first_token_seconds",
            "From a prompt's arrival to the first piece of its answer, in seconds; stored answers don't count.",
            ("model",),
            buckets=TOKEN_BUCKETS_S,
            registry=self.registry,
        )
        self._output_token = Histogram(
            "facade_time_per_output_token_seconds",
            "Mean time between tokens of one answer after its first piece, in seconds.",
            ("model",),
            buckets=TOKEN_BUCKETS_S,
            registry=self.registry,
        )
        self._first_token_child = cache(lambda model: self._first_token.labels(model).observe)
        self._output_token_child = cache(lambda model: self._output_token.labels(model).observe)
        self._request_child = cache(lambda *labels: self._requests.labels(*labels).inc)
        self._latency_child = cache(lambda *labels: self._latency.labels(*labels).observe)
        self._batch_child = cache(lambda model: self._batch_size.labels(model).observe)
        self._wait_child = cache(lambda model: self._queue_wait.labels(model).observe)
        self._stage_child = cache(lambda stage: self._stages.labels(stage).observe)
        self._cache_child = cache(lambda outcome: self._cache_items.labels(outcome).inc)
        self._token_child = cache(lambda *labels: self._tokens.labels(*labels).inc)

    def observe_request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request and its time in seconds."""
        self._request_child(method, endpoint, str(status))()
        self._latency_child(method, endpoint)(seconds)

    def observe_batch(self, model: str, size: int, waited_s: float) -> None:
        """Record how many items left in one call, and how long the first of them had waited, in seconds."""
        self._batch_child(model)(size)
        self._wait_child(model)(waited_s)
        self.observe_stage("queue", waited_s)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Record the time spent in one stage, in seconds."""
        self._stage_child(stage)(seconds)

    def observe_first_token(self, model: str, seconds: float) -> None:
        """Record how long a prompt waited for the first piece of its answer, in seconds."""
        self._first_token_child(model)(seconds)

    def observe_output_token(self, model: str, seconds: float) -> None:
        """Record the mean time between two tokens of an answer, in seconds."""
        self._output_token_child(model)(seconds)

    def count_broken_stream(self, code: str) -> None:
        """Count a stream that ended early, by its error's code."""
        self._broken_streams.labels(code).inc()

    def observe_call(self, model: str, version: int, outcome: str, seconds: float) -> None:
        """Record how a call to one version of a model ended, and after how many seconds."""
        label = self._version_label(model, version)
        self._calls.labels(model, label, outcome).inc()
        if outcome == "ok":
            self._call_latency.labels(model, label).observe(seconds)

    def set_canary_dropped(self, model: str, version: int, *, is_dropped: bool) -> None:
        """Say whether a canary gets callers no more."""
        self._canary_dropped.labels(model, self._version_label(model, version)).set(is_dropped)

    def _version_label(self, model: str, version: int) -> str:
        """Write a version as a label; after very many releases "other", so that series stay few."""
        if (model, version) not in self._versions:
            if len(self._versions) >= MAX_VERSION_LABELS:
                return "other"
            self._versions.add((model, version))
        return str(version)

    def count_refusal(self, tier: str) -> None:
        """Count a request refused for its tier's quota."""
        self._refusals.labels(tier).inc()

    def set_quota_shared(self, *, is_shared: bool) -> None:
        """Say whether quotas are counted together."""
        self._shared_quota.set(is_shared)

    def set_keys(self, count: int, *, is_current: bool) -> None:
        """Say how many keys are known, and whether they are those of the file."""
        self._keys.set(count)
        self._keys_current.set(is_current)

    # The cache's observer...

    def hit(self, tier: str, items: int) -> None:
        """Count items that a tier answered."""
        self._cache_child("hit-" + tier)(items)

    def miss(self, items: int) -> None:
        """Count items that had to be computed."""
        self._cache_child("miss")(items)

    def bypass(self, items: int) -> None:
        """Count items computed without a look."""
        self._cache_child("bypass")(items)

    def set_dropped(self, items: int, reason: str) -> None:
        """Count items that were not stored in Redis."""
        self._cache_trouble.labels("dropped-" + reason).inc(items)

    def garbage(self, items: int) -> None:
        """Count entries under our keys that aren't ours."""
        self._cache_trouble.labels("garbage").inc(items)

    def breaker_state(self, name: str, state: str) -> None:
        """Show a breaker's new state."""
        self._breaker.labels(name).set(BREAKER_VALUES.get(state, 1))

    def latency(self, operation: str, elapsed_s: float) -> None:
        """Record how long a caller waited for Redis, in seconds."""
        self._redis_wait.labels(operation).observe(elapsed_s)

    def count_tokens(self, model: str, direction: str, tokens: int) -> None:
        """Count tokens read (``in``) or written (``out``) by a model."""
        self._token_child(model, direction)(tokens)

    def watch(
        self, name: str, description: str, read: Callable[[], float], mode: GaugeMode = "livesum"
    ) -> None:
        """
        Add a gauge whose value is looked up when it is needed.

        Args:
            name: The metric's name.

            description: Its help text.

            read: Gives the value.

            mode: How the values of several workers become one.
        """
        gauge = Gauge(name, description, registry=self.registry, multiprocess_mode=mode)
        self._watched.append((gauge, read))

    def sample(self) -> None:
        """Look all watched values up; a worker does so every second, for scrapes that another one answers."""
        for gauge, read in self._watched:
            gauge.set(read())

    def expose(self) -> bytes:
        """
        Write all metrics in Prometheus's text format.

        Returns:
            Those of all workers, where there are several.
        """
        self.sample()
        return generate_latest(
            self.registry if self._shared_folder is None else _shared_registry(self._shared_folder)
        )


def serve_metrics(host: str, port: int, source: str | Metrics) -> None:
    """
    Serve metrics over HTTP from a thread of their own, to whoever can reach the address.

    Args:
        host: Address.

        port: Port.

        source: The folder that several workers share, or the metrics of this process.

    Raises:
        OSError: If the address can't be listened on.
    """
    registry = _shared_registry(source) if isinstance(source, str) else source.registry
    start_http_server(port, host, registry=registry)


def _shared_registry(folder: str) -> CollectorRegistry:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return registry


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, event, and whatever the caller passed as ``extra``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        line: dict[str, object] = {
            "time": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _OWN_FIELDS)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class RequestLog:
    """
    One JSON line a request, on standard error, written a few at a time.

    The logging module takes 60 µs for what takes 5 here, and one `write` a request is another 10. Lines wait for at
    most `FLUSH_INTERVAL_S`: so much is lost if the process is killed.
    """

    FLUSH_INTERVAL_S = 0.05

    def __init__(self) -> None:
        self._lines: list[bytes] = []

    def write(self, fields: dict[str, object]) -> None:
        """Take one line's fields; the time and the level are added."""
        now = time.time()
        fields["time"] = f"{_second(int(now))}.{int(now * 1000) % 1000:03d}Z"
        fields["level"] = "info"
        if not self._lines:
            asyncio.get_running_loop().call_later(self.FLUSH_INTERVAL_S, self.flush)
        self._lines.append(orjson.dumps(fields, default=str, option=orjson.OPT_APPEND_NEWLINE))

    def flush(self) -> None:
        """Write what waits."""
        lines, self._lines = self._lines, []
        if lines:
            sys.stderr.buffer.write(b"".join(lines))
            sys.stderr.buffer.flush()


def drop_line(fields: dict[str, object]) -> None:
    """Write nothing: the operator wants no line a request."""


@lru_cache(maxsize=4)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def set_up_logging(level: str) -> None:
    """
    Send all log lines to standard error as JSON.

    Args:
        level: Least severe level that is written.
    """
    stream = logging.StreamHandler()
    stream.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [stream]
    root.setLevel(level.upper())
    for name in QUIET_LOGGERS:
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True
        logging.getLogger(name).setLevel(logging.WARNING)
