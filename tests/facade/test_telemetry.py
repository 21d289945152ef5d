"""Metrics: counted once, apart by process, and few."""

from __future__ import annotations

from facade.telemetry import MAX_VERSION_LABELS, Metrics


def test_each_instance_has_a_registry_of_its_own() -> None:
    """Two façades in one process don't count together."""
    first, second = Metrics(), Metrics()
    first.observe_request("GET", "/x", 200, 0.1)

    labels = {"method": "GET", "endpoint": "/x", "status": "200"}
    assert first.registry.get_sample_value("api_requests_total", labels) == 1
    assert second.registry.get_sample_value("api_requests_total", labels) is None


def test_tokens_are_counted_and_nothing_else_forgotten() -> None:
    """Children stay as they are looked up once, whatever is counted between."""
    metrics = Metrics()
    metrics.observe_batch("minilm", 3, 0.1)
    metrics.count_tokens("minilm", "in", 7)
    metrics.observe_batch("minilm", 3, 0.1)

    read = metrics.registry.get_sample_value
    assert read("facade_tokens_total", {"model": "minilm", "direction": "in"}) == 7
    assert read("facade_queue_wait_seconds_count", {"model": "minilm"}) == 2


def test_versions_in_metrics_are_bounded() -> None:
    """After very many releases a process names no more versions, so that series stay few."""
    metrics = Metrics()
    for version in range(MAX_VERSION_LABELS + 5):
        metrics.observe_call("m", version, "ok", 0.01)
    lines = [
        line
        for line in metrics.expose().decode().splitlines()
        if line.startswith("facade_model_calls_total{")
    ]
    assert len(lines) == MAX_VERSION_LABELS + 1
    assert 'facade_model_calls_total{model="m",outcome="ok",version="other"} 5.0' in lines
