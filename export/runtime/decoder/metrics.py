"""
What Triton's own statistics can't tell about a decoupled model, on Triton's `/metrics`.

Triton's durations end when `execute()` returns, which is before the first token. So the decoder counts by itself.
Each change of a Triton metric is a message between processes; the engine's thread therefore only adds up numbers
here, and a thread that has the time publishes the differences.
"""

import threading
from collections import Counter
from collections.abc import Mapping
from typing import Any

FIRST_TOKEN_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Borders of the histogram, in seconds: from a small model on an idle machine to a full queue."""

COUNTERS = {
    "decoder_prompt_tokens_total": "Tokens of prompts that were read, those found in the prefix cache included.",
    "decoder_generated_tokens_total": "Tokens that were generated.",
    "decoder_prefix_queried_tokens_total": "Tokens of prompts that were looked up in the prefix cache.",
    "decoder_prefix_hit_tokens_total": "Tokens of prompts that were found there and not computed again.",
}
"""Counters by name, and what they count."""

GAUGES = {
    "decoder_active": "Requests whose prompts are being read or whose answers are being written.",
    "decoder_queued": "Requests that wait for a free slot.",
}
"""Gauges by name, and what they show."""

OUTCOMES = ("finished", "cancelled", "refused", "overloaded", "failed")
"""How requests end; all of them are there from the beginning, so that rates can be taken."""


class DecoderMetrics:
    """Numbers of one model instance, on their way to Triton."""

    def __init__(self, pb_utils: Any, labels: Mapping[str, str]) -> None:
        """
        Register the metrics.

        Args:
            pb_utils: Triton's module, `triton_python_backend_utils`.

            labels: Labels of all metrics: model and version.
        """
        self._lock = threading.Lock()
        self._outcomes: Counter[str] = Counter()
        self._first_tokens_s: list[float] = []
        self._published: dict[str, float] = {}
        # NOTE: A family must outlive its metrics, or Triton complains when the model goes.
        self._families: list[Any] = []

        def register(name: str, text: str, kind: Any) -> Any:
            family = pb_utils.MetricFamily(name=name, description=text, kind=kind)
            self._families.append(family)
            return family

        kinds = pb_utils.MetricFamily
        own = dict(labels)
        self._counters = {
            name: register(name, text, kinds.COUNTER).Metric(labels=own) for name, text in COUNTERS.items()
        }
        self._gauges = {
            name: register(name, text, kinds.GAUGE).Metric(labels=own) for name, text in GAUGES.items()
        }
        requests = register("decoder_requests_total", "Requests, by how they ended.", kinds.COUNTER)
        self._requests = {name: requests.Metric(labels=own | {"outcome": name}) for name in OUTCOMES}
        self._first_token = register(
            "decoder_time_to_first_token_seconds",
            "Seconds from a request's arrival in the model to its first token.",
            kinds.HISTOGRAM,
        ).Metric(labels=own, buckets=list(FIRST_TOKEN_BUCKETS_S))

    def count_request(self, outcome: str) -> None:
        """Count a request that ended in one of `OUTCOMES`."""
        with self._lock:
            self._outcomes[outcome] += 1

    def note_first_token(self, seconds: float) -> None:
        """Note how long a request waited for its first token."""
        with self._lock:
            self._first_tokens_s.append(seconds)

    def publish(self, totals: Mapping[str, int]) -> None:
        """
        Hand the numbers to Triton; called from one thread.

        Args:
            totals: Current values of all `COUNTERS` and `GAUGES`.
        """
        with self._lock:
            outcomes, self._outcomes = self._outcomes, Counter()
            first_tokens_s, self._first_tokens_s = self._first_tokens_s, []
        for name, metric in self._counters.items():
            increase = totals[name] - self._published.get(name, 0)
            if increase > 0:
                metric.increment(increase)
                self._published[name] = totals[name]
        for name, metric in self._gauges.items():
            if totals[name] != self._published.get(name):
                metric.set(totals[name])
                self._published[name] = totals[name]
        for outcome, count in outcomes.items():
            self._requests[outcome].increment(count)
        for seconds in first_tokens_s:
            self._first_token.observe(seconds)
