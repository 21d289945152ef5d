"""The model against what was measured: predictions for every point of a run; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.load.capacity.costs import points_of
from tests.load.capacity.model import Plan, computed_texts, facade_cpu_us, redis_cpu_us, token_cpu_us

if TYPE_CHECKING:
    from tests.load.capacity.costs import Costs


@dataclass(frozen=True)
class Check:
    """A prediction beside what was measured."""

    what: str
    """The figure, and where."""

    predicted: float
    """By the model."""

    measured: float
    """In the run: a median."""

    is_fitted: bool = False
    """Whether the model's costs were read off this very point, so that it proves nothing."""

    @property
    def error(self) -> float:
        """How far the prediction is off, as a share of what was measured."""
        return self.predicted / self.measured - 1


def check(costs: Costs, results: dict[str, Any]) -> list[Check]:
    """
    Predict what a run measured.

    Args:
        costs: Of this run or of another.

        results: What its results.json holds.

    Returns:
        All points of the suites mix, mix-redis and texts.
    """
    checks = []
    cpu = "facade_cpu_us_a_request"
    cores = results["environment"]["cores"]
    for name in ("mix", "mix-redis"):
        for percent, found in points_of(results, name).items():
            plan = Plan(1, hit_rate=percent / 100, tokens_a_text=29, uses_redis=name == "mix-redis")
            where, is_fitted = f"{percent:g} % known, {name}", percent in {0, 100}
            facade_us = facade_cpu_us(costs, plan)
            checks.append(
                Check(f"façade CPU, µs a request: {where}", facade_us, found[cpu], is_fitted=is_fitted)
            )
            triton_us = computed_texts(plan) * plan.tokens_a_text * token_cpu_us(costs, plan.tokens_a_text)
            if percent < 100:
                measured = found["triton_cpu_us_a_text"]
                checks.append(Check(f"Triton CPU, µs a request: {where}", triton_us, measured))
            # Here all share the machine, the load generator too, which isn't predicted but taken as measured; and the
            # façade's one worker can't use more than one core.
            all_us = facade_us + triton_us + found["generator_cpu_us_a_text"]
            all_us += redis_cpu_us(costs, plan) if plan.uses_redis else 0.0
            rate = min(cores * 1e6 / all_us, 1e6 / facade_us)
            checks.append(Check(f"requests/s: {where}", rate, found["requests_per_s"]))
    requests = points_of(results, "texts")
    for texts, found in requests.items():
        predicted_us = facade_cpu_us(costs, Plan(1, texts_a_request=texts, uses_redis=False))
        what = f"façade CPU, µs a request: {texts:g} new text(s), two callers"
        checks.append(Check(what, predicted_us, found[cpu], is_fitted=texts == max(requests)))
    return checks
