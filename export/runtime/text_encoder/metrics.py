"""
How full the core's batches are, on Triton's `/metrics`: tokens of texts, and positions that were computed for them.

Their ratio says what grouping by length leaves to padding. Each change of a Triton metric is a message between
processes, so a door only adds up, and publishes what has gathered twice a second at the most.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .batching import Group

PUBLISH_INTERVAL_S = 0.5
"""Seconds between two messages to Triton; the last batch before a pause is published by the first one after it."""

COUNTERS = {
    "door_tokens_total": "Tokens of texts that the core was asked for, special tokens included.",
    "door_padded_tokens_total": "Positions that it computed for them: rows of each group times its padded length.",
}
"""Counters by name, and what they count."""


class TokenMetrics:
    """Numbers of one door, on their way to Triton; the doors of one version add to the same counters."""

    def __init__(
        self, pb_utils: Any, labels: Mapping[str, str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Register the counters.

        Args:
            pb_utils: Triton's module, `triton_python_backend_utils`.

            labels: Labels of both counters: model and version.

            clock: Seconds that only grow.
        """
        family = pb_utils.MetricFamily
        # NOTE: A family must outlive its metrics, or Triton complains when the model goes.
        self._families = {name: family(name, text, family.COUNTER) for name, text in COUNTERS.items()}
        self._counters = {name: family.Metric(labels=dict(labels)) for name, family in self._families.items()}
        self._gathered = dict.fromkeys(COUNTERS, 0)
        self._clock = clock
        self._published_at = -PUBLISH_INTERVAL_S

    def count(self, lengths: Sequence[int], groups: Sequence[Group]) -> None:
        """
        Count a merged batch, and publish if it is time.

        Args:
            lengths: Tokens of each row.

            groups: What the core is asked for.
        """
        self._gathered["door_tokens_total"] += sum(lengths)
        self._gathered["door_padded_tokens_total"] += sum(
            len(group.rows) * group.padded_length for group in groups
        )
        now = self._clock()
        if now - self._published_at < PUBLISH_INTERVAL_S:
            return
        self._published_at = now
        for name, gathered in self._gathered.items():
            self._counters[name].increment(gathered)
            self._gathered[name] = 0
