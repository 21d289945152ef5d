"""Every metric of the façade, in tables: its name, what it says, its labels, its buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""From a cache hit to the default deadline; 2 s is the alert's bound, so it is a bucket's edge."""

STAGE_BUCKETS_S = (1e-5, 2.5e-5, 1e-4, 2.5e-4, 1e-3, 2.5e-3, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)
"""From ten microseconds, an authentication, to ten seconds, a model in trouble."""

TOKEN_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.15, 0.3, 0.6, 1.2, 2.5, 5.0, 10.0, 30.0)
"""From a toy's token to the first token of a long prompt behind a full queue."""

BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Powers of two, as batches are bounded by them."""

SEVERAL_TRITONS = "with several Tritons"

GaugeMode = Literal["livesum", "livemin", "livemax"]
"""How the values of several workers become one; of those that live."""


class CounterFamily(NamedTuple):
    """A metric that only grows."""

    description: str
    """Its help text."""

    labels: tuple[str, ...] = ()
    """What its series differ in."""


class HistogramFamily(NamedTuple):
    """A metric of which shares and percentiles are asked."""

    description: str
    """Its help text, with the unit."""

    labels: tuple[str, ...]
    """What its series differ in."""

    buckets: tuple[float, ...]
    """Upper edges."""


class GaugeFamily(NamedTuple):
    """A metric that goes up and down."""

    description: str
    """Its help text."""

    labels: tuple[str, ...]
    """What its series differ in."""

    mode: GaugeMode
    """How the values of several workers become one."""

    condition: str = ""
    """When a façade has it at all; empty for always."""


COUNTERS: Mapping[str, CounterFamily] = {
    "api_requests_total": CounterFamily(
        "Requests answered, by method, route and status.", ("method", "endpoint", "status")
    ),
    "facade_tokens_total": CounterFamily("Tokens by model and direction.", ("model", "direction")),
    "facade_model_calls_total": CounterFamily(
        "Calls to Triton by model, version and outcome (ok, failed, given-up).",
        ("model", "version", "outcome"),
    ),
    "facade_triton_endpoint_calls_total": CounterFamily(
        "Calls to one Triton of several, by outcome: ok, failed (it was away), refused (its answer is an error), "
        "given-up (another one was faster, or the caller left).",
        ("endpoint", "outcome"),
    ),
    "facade_triton_ejections_total": CounterFamily(
        "Times that one Triton of several, or a model there, got no more calls: dead, failed, model-hangs, "
        "model-crashed.",
        ("endpoint", "reason"),
    ),
    "facade_triton_retries_total": CounterFamily(
        "Calls sent to a further Triton, by why (unavailable, slow, version, crashed) and outcome: ok, failed, "
        "given-up, or refused for want of budget.",
        ("reason", "outcome"),
    ),
    "facade_triton_hedges_total": CounterFamily(
        "Second copies of slow calls by outcome: ok (it won), given-up (the first won), failed, or refused for want of "
        "budget.",
        ("outcome",),
    ),
    "facade_cache_items_total": CounterFamily("Items by where their answer came from.", ("outcome",)),
    "facade_cache_trouble_total": CounterFamily("Items that Redis lost, refused or garbled.", ("kind",)),
    "facade_quota_refusals_total": CounterFamily("Requests refused for their tier's quota.", ("tier",)),
    "facade_streams_broken_total": CounterFamily(
        "Streams that ended early, after a status of 200, by the error's code.", ("code",)
    ),
}
"""By name."""

HISTOGRAMS: Mapping[str, HistogramFamily] = {
    "api_request_latency_seconds": HistogramFamily(
        "From the first byte read to the last byte written, in seconds.",
        ("method", "endpoint"),
        LATENCY_BUCKETS_S,
    ),
    "facade_batch_size": HistogramFamily("Items in one merged call to Triton.", ("model",), BATCH_BUCKETS),
    "facade_queue_wait_seconds": HistogramFamily(
        "Longest time that an item of a merged call waited for it, in seconds.", ("model",), LATENCY_BUCKETS_S
    ),
    "facade_stage_seconds": HistogramFamily(
        "Time spent in one stage of a request (queue and triton: of a merged call), in seconds.",
        ("stage",),
        STAGE_BUCKETS_S,
    ),
    "facade_model_call_seconds": HistogramFamily(
        "Time of one call to Triton that was answered (of a stream: to its first piece), in seconds.",
        ("model", "version"),
        LATENCY_BUCKETS_S,
    ),
    "facade_redis_wait_seconds": HistogramFamily(
        "Time that callers waited for Redis, in seconds.", ("operation",), STAGE_BUCKETS_S
    ),
    "facade_time_to_first_token_seconds": HistogramFamily(
        "From a prompt's arrival to the first piece of its answer, in seconds; stored answers don't count.",
        ("model",),
        TOKEN_BUCKETS_S,
    ),
    "facade_time_per_output_token_seconds": HistogramFamily(
        "Mean time between tokens of one answer after its first piece, in seconds.",
        ("model",),
        TOKEN_BUCKETS_S,
    ),
}
"""By name."""

GAUGES: Mapping[str, GaugeFamily] = {
    "facade_canary_dropped": GaugeFamily(
        "1 while a canary gets no callers because it was clearly worse than stable.",
        ("model", "version"),
        "livemax",
    ),
    "facade_breaker_open": GaugeFamily(
        "Breaker of a dependency: 0 closed, 0.5 half-open, 1 open.", ("name",), "livemax"
    ),
    "facade_quota_shared": GaugeFamily(
        "1 while quotas are counted together, 0 while each process or host grants its share alone.",
        (),
        "livemin",
    ),
    "facade_keys_file_current": GaugeFamily(
        "1 if the keys in use are those of the file, 0 if the file's last edit is broken.", (), "livemin"
    ),
    "facade_keys": GaugeFamily("Keys that are known.", (), "livemax"),
    "facade_requests_in_flight": GaugeFamily("Requests being answered now.", (), "livesum"),
}
"""By name."""

WATCHED: Mapping[str, GaugeFamily] = {
    "facade_triton_up": GaugeFamily("1 while Triton answers, else 0.", (), "livemin"),
    "facade_generations_running": GaugeFamily("Answers that wait or are written now.", (), "livesum"),
    "facade_tasks": GaugeFamily("Tasks of the event loop.", (), "livesum"),
    "facade_queue_depth": GaugeFamily("Items that wait for a call to Triton.", ("lane",), "livesum"),
    "facade_triton_endpoints": GaugeFamily("Tritons that are known.", (), "livemax", SEVERAL_TRITONS),
    "facade_triton_endpoints_up": GaugeFamily("Tritons that get calls.", (), "livemin", SEVERAL_TRITONS),
    "facade_triton_endpoint_ejected": GaugeFamily(
        "1 while a Triton gets no calls because it failed, else 0.", ("endpoint",), "livemax", SEVERAL_TRITONS
    ),
    "facade_triton_endpoint_calls_in_flight": GaugeFamily(
        "Calls under way at a Triton.", ("endpoint",), "livesum", SEVERAL_TRITONS
    ),
    "facade_triton_certificate_end_timestamp_seconds": GaugeFamily(
        "When the certificate that Triton is shown is over, in seconds since 1970.",
        (),
        "livemin",
        "with a certificate for Triton",
    ),
}
"""By name; of those that are looked up when they are needed, and that a façade has only where there is what to see."""
