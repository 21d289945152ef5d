"""Numbers on their way to Triton: differences for counters, values for gauges, each first token once."""

from collections import defaultdict
from typing import Any

from export.runtime.decoder.metrics import COUNTERS, FIRST_TOKEN_BUCKETS_S, GAUGES, OUTCOMES, DecoderMetrics


class FakeMetric:
    """A metric that notes what is done to it."""

    def __init__(self, done: list[tuple[str, float]]) -> None:
        self._done = done

    def increment(self, by: float) -> None:
        """Note an increase."""
        self._done.append(("increment", by))

    def set(self, value: float) -> None:
        """Note a value."""
        self._done.append(("set", value))

    def observe(self, value: float) -> None:
        """Note an observation."""
        self._done.append(("observe", value))


class FakeTriton:
    """Triton's module, with what was done to metrics by name and outcome."""

    def __init__(self) -> None:
        done: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
        buckets_of: dict[str, list[float]] = {}

        class MetricFamily:
            COUNTER, GAUGE, HISTOGRAM = range(3)

            def __init__(self, name: str, description: str, kind: int) -> None:
                assert description.endswith(".")
                self._name = name

            def Metric(self, labels: dict[str, str], buckets: Any = None) -> FakeMetric:  # noqa: N802 - Triton's name
                assert labels["model"] == "chat"
                if buckets is not None:
                    buckets_of[self._name] = buckets
                return FakeMetric(done[self._name, labels.get("outcome", "")])

        self.MetricFamily, self.done, self.buckets_of = MetricFamily, done, buckets_of


def test_numbers_are_published_as_differences() -> None:
    """Counters grow by what is new, gauges are set when they change, and nothing is told twice."""
    triton = FakeTriton()
    metrics = DecoderMetrics(triton, {"model": "chat", "version": "1"})
    totals = dict.fromkeys([*COUNTERS, *GAUGES], 0)
    metrics.publish(totals | {"decoder_generated_tokens_total": 5, "decoder_active": 2})
    metrics.publish(totals | {"decoder_generated_tokens_total": 9, "decoder_active": 2})
    metrics.publish(totals | {"decoder_generated_tokens_total": 9})
    assert triton.done["decoder_generated_tokens_total", ""] == [("increment", 5), ("increment", 4)]
    assert triton.done["decoder_active", ""] == [("set", 2), ("set", 0)]
    assert triton.done["decoder_prompt_tokens_total", ""] == []


def test_outcomes_and_first_tokens_are_published_once() -> None:
    """Requests are counted by how they ended, and each first token is one observation in seconds."""
    triton = FakeTriton()
    metrics = DecoderMetrics(triton, {"model": "chat", "version": "1"})
    for outcome in ("finished", "finished", "refused"):
        metrics.count_request(outcome)
    metrics.note_first_token(0.25)
    for _ in range(2):
        metrics.publish(dict.fromkeys([*COUNTERS, *GAUGES], 0))
    assert triton.done["decoder_requests_total", "finished"] == [("increment", 2)]
    assert triton.done["decoder_requests_total", "refused"] == [("increment", 1)]
    assert triton.done["decoder_time_to_first_token_seconds", ""] == [("observe", 0.25)]
    assert triton.buckets_of == {"decoder_time_to_first_token_seconds": list(FIRST_TOKEN_BUCKETS_S)}
    assert {outcome for name, outcome in triton.done if name == "decoder_requests_total"} == set(OUTCOMES)
