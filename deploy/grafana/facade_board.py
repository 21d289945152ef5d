"""The façade: what callers get, and which part of it is slow."""

from __future__ import annotations

from deploy.grafana.panels import Board, Panel, Query
from deploy.grafana.promql import SERVED, UNARY, mean, quantile, rate

ERRORS = Panel(
    "Errors of ours",
    "percentunit",
    (Query("facade:errors:ratio_rate5m"),),
    "Share of answers with a status of 5xx, over 5 minutes. Above 1 %: runbook FacadeErrorsHigh.",
    limit=0.01,
)

FACADE = Board(
    "facade",
    "triton-facade: façade",
    stats=(
        Panel(
            "Requests", "reqps", (Query(rate("api_requests_total", where=SERVED)),), "Answered in a second."
        ),
        ERRORS,
        Panel(
            "p99",
            "s",
            (Query("facade:latency_seconds:p99_5m"),),
            "99 of 100 answers are quicker; without streams. Above 2 s: runbook FacadeLatencyHigh.",
            limit=2,
        ),
        Panel(
            "In flight", "short", (Query("sum(facade_requests_in_flight)"),), "Requests being answered now."
        ),
        Panel(
            "Queue",
            "short",
            (Query('sum(facade_queue_depth{lane="small"})'),),
            "Inputs of small requests that wait for a call to Triton. Above 100: runbook FacadeQueueLong.",
            limit=100,
        ),
        Panel(
            "Triton answers",
            "none",
            (Query("min(facade_triton_up)"),),
            "1 if every façade gets answers from Triton. 0: runbook TritonUnreachable.",
            limit=1,
            is_low_bad=True,
        ),
    ),
    series=(
        Panel(
            "Requests by route",
            "reqps",
            (Query(rate("api_requests_total", "endpoint", SERVED), "{{endpoint}}"),),
            "What callers ask for.",
        ),
        Panel(
            "Answers by status",
            "reqps",
            (Query(rate("api_requests_total", "status", SERVED), "{{status}}"),),
            "502 is a failing model, 503 too much work or no Triton, 504 too slow.",
        ),
        Panel(
            "Time of an answer",
            "s",
            tuple(
                Query(quantile(share, "api_request_latency_seconds", where=UNARY), f"p{share * 100:g}")
                for share in (0.5, 0.9, 0.99)
            ),
            "Without streams, which last as long as their text.",
            limit=2,
        ),
        Panel(
            "Time in each stage, p90",
            "s",
            (Query(quantile(0.9, "facade_stage_seconds", "stage"), "{{stage}}"),),
            "Which part is slow: the queue before Triton, Triton itself, or the façade's own work.",
        ),
        Panel(
            "Error budget: speed of burning",
            "none",
            tuple(
                Query(f"facade:errors:ratio_rate{window} / 0.0005", f"over {window}")
                for window in ("1h", "6h", "3d")
            ),
            "1 is as fast as 99.95 % allows. 14.4 over an hour wakes somebody up: runbook ErrorBudgetBurnsFast.",
            limit=1,
        ),
        Panel(
            "Queue and requests in flight, by façade",
            "short",
            (
                Query("sum by (instance, lane) (facade_queue_depth)", "queue {{lane}} {{instance}}"),
                Query("sum by (instance) (facade_requests_in_flight)", "in flight {{instance}}"),
            ),
            "One façade far above the others: the balancer in front doesn't balance.",
        ),
        Panel(
            "Inputs in one call to Triton",
            "short",
            (Query(mean("facade_batch_size", "model"), "{{model}}"),),
            "Mean. It grows with load: inputs that arrive while Triton is busy leave together.",
        ),
        Panel(
            "Wait for a call, p99",
            "s",
            (Query(quantile(0.99, "facade_queue_wait_seconds", "model"), "{{model}}"),),
            "Of the input that waited longest in each call.",
        ),
        Panel(
            "Cache: where answers come from",
            "ops",
            (Query(rate("facade_cache_items_total", "outcome"), "{{outcome}}"),),
            "Inputs in a second, by where their answer came from.",
        ),
        Panel(
            "Wait for Redis, p99",
            "s",
            (Query(quantile(0.99, "facade_redis_wait_seconds", "operation"), "{{operation}}"),),
            "A look-up is given up after 20 ms; the answer is computed then.",
        ),
        Panel(
            "Breakers",
            "none",
            (Query("max by (name) (facade_breaker_open)", "{{name}}"),),
            "1: left alone because it failed too often. Runbook BreakerOpen.",
            limit=1,
        ),
        Panel(
            "Trouble with the cache",
            "ops",
            (Query(rate("facade_cache_trouble_total", "kind"), "{{kind}}"),),
            "Answers that Redis lost, refused or garbled; each was computed instead.",
        ),
    ),
)
