"""What is made of an overload's figures. Pure."""

from __future__ import annotations

from tests.load.open_loop import OpenResult
from tests.load.overload import OVERLOAD, Overloaded, ServerCounts, best_of, parse_server_counts, to_figures

METRICS = """# TYPE api_requests_total counter
api_requests_total{endpoint="/v1/embeddings",method="POST",status="200"} 5.0
api_requests_total{endpoint="/v1/embeddings",method="POST",status="503"} 7.0
api_requests_total{endpoint="/health/ready",method="GET",status="503"} 100.0
api_request_latency_seconds_bucket{endpoint="/v1/embeddings",le="0.01",method="POST"} 6.0
api_request_latency_seconds_bucket{endpoint="/v1/embeddings",le="0.025",method="POST"} 9.0
"""


def test_refusals_are_read_from_the_metrics() -> None:
    """Only those of the route that is loaded, and only the bucket that ends at 10 ms."""
    assert parse_server_counts(METRICS) == ServerCounts(refused=7, quick=6)
    assert parse_server_counts("") == ServerCounts(0, 0)


def test_the_capacity_is_the_best_closed_loop() -> None:
    """The overload itself is no candidate, however much it answered."""
    one = {"8": {"texts_per_s": 90}, "16": {"texts_per_s": 100}, OVERLOAD: {"texts_per_s": 500}}

    assert best_of(one) == {"texts_per_s": 100}


def test_figures_take_latencies_from_the_due_time() -> None:
    """p99 of the admitted is since due; refusals have figures of their own."""
    result = OpenResult(
        measured_s=2.0,
        due=6,
        answered_in_time=2,
        admitted_due_ms=[300.0, 200.0],
        admitted_sent_ms=[290.0, 190.0],
        refused_due_ms=[4.0, 3.0, 2.0, 1.0],
        refused_sent_ms=[3.0, 2.0, 1.0, 0.5],
        cpu_s=0.1,
    )

    figures = to_figures(Overloaded(result, ServerCounts(4, 3), {"facade": 0.2}, 0.5), 3.0)

    assert (figures["texts_per_s"], figures["p99_ms"], figures["p99_since_sent_ms"]) == (1.0, 300.0, 290.0)
    assert (figures["refused"], figures["refused_p99_ms"], figures["refused_within_10_ms"]) == (4, 4.0, 0.75)
    assert round(figures["cpu_us_a_text"]["facade"]) == 100_000
