"""Tallies: what was counted in plain numbers arrives in prometheus_client once, whoever asks and how often."""

from __future__ import annotations

from threading import Thread

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from facade.tallies import CounterTally, HistogramTally, LevelTally
from facade.telemetry import Metrics

EDGES = (0.1, 1.0)


def test_a_counter_hands_each_count_on_once() -> None:
    """Handing on twice doesn't count twice, and what comes between counts."""
    registry = CollectorRegistry()
    tally = CounterTally(Counter("things", "Things.", registry=registry))
    tally.inc()
    tally.hand_on()
    tally.hand_on()
    tally.inc(2)
    tally.hand_on()
    assert registry.get_sample_value("things_total") == 3


def test_a_histogram_says_what_prometheus_client_would_have_said() -> None:
    """Values on an edge, below, between and beyond land in the buckets that `Histogram.observe` chooses."""
    registry, expected = CollectorRegistry(), CollectorRegistry()
    tally = HistogramTally(Histogram("took", "Seconds.", buckets=EDGES, registry=registry), EDGES)
    theirs = Histogram("took", "Seconds.", buckets=EDGES, registry=expected)
    for value in (0.0, 0.1, 0.5, 1.0, 7.0, -1.0):
        tally.observe(value)
        theirs.observe(value)
        if value == 0.5:
            tally.hand_on()
    tally.hand_on()
    for name, labels in (
        *(("took_bucket", {"le": le}) for le in ("0.1", "1.0", "+Inf")),
        ("took_count", {}),
        ("took_sum", {}),
    ):
        assert registry.get_sample_value(name, labels) == expected.get_sample_value(name, labels)


def test_a_level_is_where_it_is() -> None:
    """A gauge shows what is left after going up and down."""
    registry = CollectorRegistry()
    tally = LevelTally(Gauge("inside", "Inside.", registry=registry))
    tally.inc()
    tally.inc()
    tally.dec()
    tally.hand_on()
    assert registry.get_sample_value("inside") == 1


def test_a_reading_registry_sees_all_counts_while_others_read() -> None:
    """Scrapes in other threads, at any moment, neither lose a count nor see one twice."""
    metrics = Metrics()
    labels = {"method": "GET", "endpoint": "/x", "status": "200"}
    is_over = False

    def scrape() -> None:
        while not is_over:
            metrics.registry.get_sample_value("api_requests_total", labels)

    scrapers = [Thread(target=scrape) for _ in range(2)]
    for scraper in scrapers:
        scraper.start()
    for _ in range(5_000):
        metrics.observe_request("GET", "/x", 200, 0.01)
    is_over = True
    for scraper in scrapers:
        scraper.join()
    assert metrics.registry.get_sample_value("api_requests_total", labels) == 5_000
    assert (
        metrics.registry.get_sample_value(
            "api_request_latency_seconds_count", {"method": "GET", "endpoint": "/x"}
        )
        == 5_000
    )
