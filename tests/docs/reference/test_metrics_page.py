"""The page of the metrics."""

from __future__ import annotations

from docs.reference import metrics_page
from facade.metric_families import WATCHED
from facade.telemetry import Metrics


def test_every_metric_of_the_facade_is_listed() -> None:
    """As a registry has them, kinds and labels included."""
    metrics = Metrics()
    for name, family in WATCHED.items():
        watch = metrics.watch_each if family.labels else metrics.watch
        watch(name, dict if family.labels else float)  # type: ignore[operator]
    listed = {family.name.removesuffix("_total"): family.kind for family in metrics_page.facade_families()}

    assert {family.name: family.type for family in metrics.registry.collect()} == listed


def test_metrics_of_models_have_their_labels_and_buckets() -> None:
    """As the models register them with Triton."""
    found = {family.name: family for family in metrics_page.door_families()}

    assert found["door_tokens_total"].labels == ("model", "version")
    assert found["decoder_requests_total"].labels == ("model", "version", "outcome")
    assert "`cancelled`" in found["decoder_requests_total"].about
    assert found["decoder_time_to_first_token_seconds"].buckets


def test_who_reads_a_metric_is_named() -> None:
    """Alerts by their runbooks, also where a recorded ratio stands between."""
    lines = {
        line.split("`")[1]: line for line in metrics_page.write().splitlines() if line.startswith("| <a")
    }

    assert "[FacadeQueueLong](../runbooks/FacadeQueueLong.md)" in lines["facade_queue_depth"]
    assert "ErrorBudgetBurns.md" in lines["api_requests_total"]
    assert "[dashboard models]" in lines["facade_batch_size"]
    assert "counter, tokens" in lines["facade_tokens_total"]
