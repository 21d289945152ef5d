"""How full the core's batches are: what is added up, and when Triton is told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from export.runtime.text_encoder.batching import Group
from export.runtime.text_encoder.metrics import PUBLISH_INTERVAL_S, TokenMetrics


class _Family:
    """Stands in for Triton's `MetricFamily`, which exists inside Triton only; `test_model` has the real one."""

    COUNTER = "counter"
    messages: list[tuple[str, float]]

    def __init__(self, name: str, description: str, kind: str) -> None:
        self._name = name

    def Metric(self, labels: dict[str, str]) -> Any:  # noqa: N802  # Triton's spelling
        assert labels == {"model": "minilm", "version": "3"}
        return SimpleNamespace(increment=lambda value: self.messages.append((self._name, value)))


def _metrics(now_s: list[float]) -> tuple[TokenMetrics, list[tuple[str, float]]]:
    _Family.messages = []
    labels = {"model": "minilm", "version": "3"}
    metrics = TokenMetrics(SimpleNamespace(MetricFamily=_Family), labels, clock=lambda: now_s[0])
    return metrics, _Family.messages


def test_tokens_and_the_positions_computed_for_them_are_counted() -> None:
    """Two rows of 3 and 5 tokens padded to 5, and one of 9, are 17 tokens in 19 positions."""
    metrics, messages = _metrics([0.0])
    metrics.count([3, 5, 9], [Group((0, 1), 5), Group((2,), 9)])
    assert messages == [("door_tokens_total", 17), ("door_padded_tokens_total", 19)]


def test_triton_is_told_seldom_and_of_everything() -> None:
    """What comes within the interval is added up and told once by the first batch after it."""
    now_s = [0.0]
    metrics, messages = _metrics(now_s)
    for _ in range(5):
        metrics.count([4], [Group((0,), 4)])
    assert messages == [("door_tokens_total", 4), ("door_padded_tokens_total", 4)]
    now_s[0] += PUBLISH_INTERVAL_S
    metrics.count([4], [Group((0,), 4)])
    assert messages[2:] == [("door_tokens_total", 20), ("door_padded_tokens_total", 20)]
