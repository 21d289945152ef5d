"""What is seen from outside: Prometheus metrics under the guide's names; `metric_families` has the tables."""

from __future__ import annotations

import os
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

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
from prometheus_client.registry import Collector

from facade.metric_families import COUNTERS, GAUGES, HISTOGRAMS, WATCHED
from facade.tallies import CounterTally, HistogramTally, LevelTally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from prometheus_client import Metric

    from facade.metric_families import GaugeFamily

BREAKER_VALUES = {"closed": 0.0, "half-open": 0.5, "open": 1.0}

MAX_VERSION_LABELS = 200
"""Versions of models that one process names in metrics: each is about twenty series, and years of releases."""

MAX_ENDPOINT_LABELS = 256
"""Addresses of Tritons that one process names in metrics."""

INDEX_VARIABLE = "FACADE_WORKER_INDEX"
"""Environment variable: which of several workers this process is. The index is stable over restarts."""

MULTIPROC_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Environment variable (prometheus_client's own): where several workers keep their counters."""


class Metrics:
    """
    All metrics of one process, in a registry of their own.

    What is counted often is counted in `tallies`, kept by label values, and handed on to prometheus_client by `sample`,
    or when the registry is read: with several workers up to a second later, and lost if a worker is killed before.
    """

    def __init__(self) -> None:
        self._shared_folder = os.environ.get(MULTIPROC_VARIABLE)
        if self._shared_folder is not None:
            # By the worker's index and not by its pid: files of dead workers would pile up and slow every scrape.
            index = os.environ.get(INDEX_VARIABLE, "0")
            values.ValueClass = values.MultiProcessValue(lambda: index)  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        # Before all others: a registry reads its collectors in this order, and this one only hands on.
        self.registry.register(_Handover(self.hand_on))
        self._tallies: list[CounterTally | HistogramTally | LevelTally] = []
        self._handing_on = Lock()
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []
        self._watched_groups: list[tuple[Gauge, Callable[[], Mapping[str, float]], set[str]]] = []
        self._counters = {
            name: Counter(name, family.description, family.labels, registry=self.registry)
            for name, family in COUNTERS.items()
        }
        self._histograms = {
            name: Histogram(
                name, family.description, family.labels, buckets=family.buckets, registry=self.registry
            )
            for name, family in HISTOGRAMS.items()
        }
        self._gauges = {name: self._make_gauge(name, family) for name, family in GAUGES.items()}
        self.in_flight = LevelTally(self._gauges["facade_requests_in_flight"])
        self._tallies.append(self.in_flight)
        self._versions: set[tuple[str, int]] = set()
        self._endpoint_labels: set[str] = set()
        # A child is found once for its labels: what runs for each request calls it and nothing else.
        self._inc = cache(lambda name, *labels: self._count_in(name, labels).inc)
        self._observe = cache(lambda name, *labels: self._observe_in(name, labels).observe)
        self._request = cache(self._find_request)
        self._stage = cache(lambda stage: self._observe_in("facade_stage_seconds", (stage,)).observe)

    def observe_request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """Count one answered request and its time in seconds."""
        count, observe = self._request(method, endpoint, status)
        count()
        observe(seconds)

    def observe_batch(self, model: str, size: int, waited_s: float) -> None:
        """Record how many items left in one call, and how long the first of them had waited, in seconds."""
        self._observe("facade_batch_size", model)(size)
        self._observe("facade_queue_wait_seconds", model)(waited_s)
        self.observe_stage("queue", waited_s)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Record the time spent in one stage, in seconds."""
        self._stage(stage)(seconds)

    def observe_first_token(self, model: str, seconds: float) -> None:
        """Record how long a prompt waited for the first piece of its answer, in seconds."""
        self._observe("facade_time_to_first_token_seconds", model)(seconds)

    def observe_output_token(self, model: str, seconds: float) -> None:
        """Record the mean time between two tokens of an answer, in seconds."""
        self._observe("facade_time_per_output_token_seconds", model)(seconds)

    def count_broken_stream(self, code: str) -> None:
        """Count a stream that ended early, by its error's code."""
        self._inc("facade_streams_broken_total", code)()

    def observe_call(self, model: str, version: int, outcome: str, seconds: float) -> None:
        """Record how a call to one version of a model ended, and after how many seconds."""
        label = self._version_label(model, version)
        self._inc("facade_model_calls_total", model, label, outcome)()
        if outcome == "ok":
            self._observe("facade_model_call_seconds", model, label)(seconds)

    def count_attempt(self, endpoint: str, outcome: str) -> None:
        """Count a call to one Triton of several, by how it ended."""
        self._inc("facade_triton_endpoint_calls_total", self._endpoint_label(endpoint), outcome)()

    def count_retry(self, reason: str, outcome: str) -> None:
        """Count a further attempt at a call, or one that there was no budget for."""
        name = "facade_triton_hedges_total" if reason == "hedge" else "facade_triton_retries_total"
        labels = (outcome,) if reason == "hedge" else (reason, outcome)
        self._inc(name, *labels)()

    def count_ejection(self, endpoint: str, reason: str) -> None:
        """Count that one Triton of several gets no more calls."""
        self._inc("facade_triton_ejections_total", self._endpoint_label(endpoint), reason)()

    def set_canary_dropped(self, model: str, version: int, *, is_dropped: bool) -> None:
        """Say whether a canary gets callers no more."""
        label = self._version_label(model, version)
        self._gauges["facade_canary_dropped"].labels(model, label).set(is_dropped)

    def _version_label(self, model: str, version: int) -> str:
        """Write a version as a label; after very many releases "other", so that series stay few."""
        if (model, version) not in self._versions:
            if len(self._versions) >= MAX_VERSION_LABELS:
                return "other"
            self._versions.add((model, version))
        return str(version)

    def _endpoint_label(self, endpoint: str) -> str:
        """Write an address as a label; after very many "other": where pods come and go, so do their addresses."""
        if endpoint not in self._endpoint_labels:
            if len(self._endpoint_labels) >= MAX_ENDPOINT_LABELS:
                return "other"
            self._endpoint_labels.add(endpoint)
        return endpoint

    def count_refusal(self, tier: str) -> None:
        """Count a request refused for its tier's quota."""
        self._inc("facade_quota_refusals_total", tier)()

    def set_quota_shared(self, *, is_shared: bool) -> None:
        """Say whether quotas are counted together."""
        self._gauges["facade_quota_shared"].set(is_shared)

    def set_keys(self, count: int, *, is_current: bool) -> None:
        """Say how many keys are known, and whether they are those of the file."""
        self._gauges["facade_keys"].set(count)
        self._gauges["facade_keys_file_current"].set(is_current)

    # The cache's observer...

    def hit(self, tier: str, items: int) -> None:
        """Count items that a tier answered."""
        self._inc("facade_cache_items_total", "hit-" + tier)(items)

    def miss(self, items: int) -> None:
        """Count items that had to be computed."""
        self._inc("facade_cache_items_total", "miss")(items)

    def bypass(self, items: int) -> None:
        """Count items computed without a look."""
        self._inc("facade_cache_items_total", "bypass")(items)

    def set_dropped(self, items: int, reason: str) -> None:
        """Count items that were not stored in Redis."""
        self._inc("facade_cache_trouble_total", "dropped-" + reason)(items)

    def garbage(self, items: int) -> None:
        """Count entries under our keys that aren't ours."""
        self._inc("facade_cache_trouble_total", "garbage")(items)

    def breaker_state(self, name: str, state: str) -> None:
        """Show a breaker's new state."""
        self._gauges["facade_breaker_open"].labels(name).set(BREAKER_VALUES.get(state, 1))

    def latency(self, operation: str, elapsed_s: float) -> None:
        """Record how long a caller waited for Redis, in seconds."""
        self._observe("facade_redis_wait_seconds", operation)(elapsed_s)

    def count_tokens(self, model: str, direction: str, tokens: int) -> None:
        """Count tokens read (``in``) or written (``out``) by a model."""
        self._inc("facade_tokens_total", model, direction)(tokens)

    def watch(self, name: str, read: Callable[[], float]) -> None:
        """
        Add a gauge whose value is looked up when it is needed.

        Args:
            name: One of `metric_families.WATCHED`.

            read: Gives the value.
        """
        self._watched.append((self._make_gauge(name, WATCHED[name]), read))

    def watch_each(self, name: str, read: Callable[[], Mapping[str, float]]) -> None:
        """
        Add a gauge with a series for each of several things that come and go.

        Args:
            name: One of `metric_families.WATCHED`, with one label.

            read: Gives the values by label; what was there and isn't any more is 0.
        """
        self._watched_groups.append((self._make_gauge(name, WATCHED[name]), read, set()))

    def _make_gauge(self, name: str, family: GaugeFamily) -> Gauge:
        return Gauge(
            name, family.description, family.labels, registry=self.registry, multiprocess_mode=family.mode
        )

    def hand_on(self) -> None:
        """Tell prometheus_client what was counted since the last time; from any thread."""
        with self._handing_on:
            for tally in list(self._tallies):
                tally.hand_on()

    def sample(self) -> None:
        """
        Look all watched values up, and hand on what was counted.

        A worker does so every second, for scrapes that another one answers.
        """
        self.hand_on()
        for gauge, read in self._watched:
            gauge.set(read())
        for gauge, read_all, seen in self._watched_groups:
            found = {self._endpoint_label(name): value for name, value in read_all().items()}
            for name in seen - found.keys():
                gauge.labels(name).set(0)
            seen.update(found)
            for name, value in found.items():
                gauge.labels(name).set(value)

    def _count_in(self, name: str, labels: tuple[str, ...]) -> CounterTally:
        tally = CounterTally(self._counters[name].labels(*labels))
        self._tallies.append(tally)
        return tally

    def _observe_in(self, name: str, labels: tuple[str, ...]) -> HistogramTally:
        tally = HistogramTally(self._histograms[name].labels(*labels), HISTOGRAMS[name].buckets)
        self._tallies.append(tally)
        return tally

    def _find_request(
        self, method: str, endpoint: str, status: int
    ) -> tuple[Callable[[], None], Callable[[float], None]]:
        return (
            self._inc("api_requests_total", method, endpoint, str(status)),
            self._observe("api_request_latency_seconds", method, endpoint),
        )

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


class _Handover(Collector):
    """
    Has what was counted handed on before a registry is read.

    Args:
        hand_on: Does it.
    """

    def __init__(self, hand_on: Callable[[], None]) -> None:
        self._hand_on = hand_on

    def describe(self) -> Iterable[Metric]:
        """Has no metrics of its own."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Hand on; there is nothing to add."""
        self._hand_on()
        return ()


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
