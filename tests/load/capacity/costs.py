"""What a request, a text, a token and an answer cost, as measured by the growth suites; pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from tests.load.growth.series import pick_values


@dataclass(frozen=True)
class Costs:
    """What was measured; see docs/capacity.md for when and on what."""

    facade_request_us: float
    """*a*: CPU time of a worker for a request, whatever is in it, in microseconds."""

    facade_known_text_us: float
    """*b*: CPU time for each text that is in memory."""

    facade_computed_text_us: float
    """*c*: CPU time for each text that Triton computes."""

    facade_computed_request_us: float
    """*d*: CPU time that a request with a computed text costs once, its part of a call to Triton included."""

    facade_redis_us: float
    """CPU time that a request costs beyond that where quotas and cache go through Redis."""

    facade_redis_computed_us: float
    """CPU time beyond that, once if there is a computed text: the claim, and the answers that are stored."""

    redis_request_us: float
    """Redis's CPU time for a request: quotas in and out, and the cache's look-up."""

    redis_computed_text_us: float
    """Redis's CPU time for each text that is computed: the claim, and the answer that is stored."""

    redis_request_bytes: float
    """Bytes that a request sends to Redis and gets back."""

    redis_computed_text_bytes: float
    """Bytes for each text that is computed."""

    redis_answer_bytes: float
    """Memory that Redis takes for one answer."""

    triton_cpu_us_a_token: tuple[tuple[float, float], ...]
    """Tokens a text, and Triton's CPU time a token at that length: a CPU's, in ascending order."""

    triton_cores: int
    """Cores of the machine whose Triton that was."""


MEASURED = Costs(
    facade_request_us=327.0,
    facade_known_text_us=14.0,
    facade_computed_text_us=82.0,
    facade_computed_request_us=336.0,
    facade_redis_us=112.0,
    facade_redis_computed_us=659.0,
    redis_request_us=71.0,
    redis_computed_text_us=74.0,
    redis_request_bytes=672.0,
    redis_computed_text_bytes=1_867.0,
    redis_answer_bytes=1_958.0,
    triton_cpu_us_a_token=(
        (3.0, 799.0),
        (8.0, 478.0),
        (16.0, 414.0),
        (32.0, 366.0),
        (64.0, 381.0),
        (128.0, 349.0),
        (256.0, 381.0),
        (512.0, 435.0),
    ),
    triton_cores=2,
)
"""
all-MiniLM-L6-v2 in fp32 on two cores of an AMD EPYC, 2026-11-28, commits 5eab7ab to 71dfc14; docs/capacity.md says
which figure is of which run.
"""


def points_of(results: dict[str, Any], name: str) -> dict[float, dict[str, float]]:
    """
    Take one suite's medians out of a run.

    Args:
        results: What its results.json holds.

        name: The suite's.

    Returns:
        Medians by figure, by size.

    Raises:
        ValueError: If the suite wasn't run.
    """
    for suite in results["suites"]:
        if suite["name"] == name:
            return {point["at"]: _medians(point["rounds"]) for point in suite["points"]}
    raise ValueError(f"the run has no suite {name!r}; run make bench-growth without --only")


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    keys = {key for one in rounds for key in one}
    return {key: statistics.median(pick_values(rounds, key)) for key in keys}


def fit(results: dict[str, Any]) -> Costs:
    """
    Read the costs out of a run of the growth suites.

    Args:
        results: What its results.json holds, with the suites texts, length, redis, mix and mix-redis.

    Returns:
        The costs: *b* and *c* from requests of one text and of the most, *a* and *d* from the mixes' ends, at which
        nothing and everything is known.

    Raises:
        ValueError: If a suite is missing.
    """
    alone, shared, texts = (points_of(results, name) for name in ("mix", "mix-redis", "texts"))
    cpu, most = "facade_cpu_us_a_request", max(texts)
    known_text_us, computed_text_us = (
        (texts[most][key] - texts[1][key]) / (most - 1) for key in (f"known_{cpu}", cpu)
    )
    request_us = alone[100][cpu] - known_text_us
    redis_cpu_us = {at: shared[at]["redis_cpu_us_a_request"] for at in (0, 100)}
    moved = {
        at: sum(shared[at][f"redis_total_net_{way}_bytes_a_request"] for way in ("input", "output"))
        for at in (0, 100)
    }
    return Costs(
        facade_request_us=request_us,
        facade_known_text_us=known_text_us,
        facade_computed_text_us=computed_text_us,
        facade_computed_request_us=alone[0][cpu] - request_us - computed_text_us,
        facade_redis_us=shared[100][cpu] - alone[100][cpu],
        facade_redis_computed_us=shared[0][cpu] - alone[0][cpu] - (shared[100][cpu] - alone[100][cpu]),
        redis_request_us=redis_cpu_us[100],
        redis_computed_text_us=redis_cpu_us[0] - redis_cpu_us[100],
        redis_request_bytes=moved[100],
        redis_computed_text_bytes=moved[0] - moved[100],
        redis_answer_bytes=list(points_of(results, "redis").values())[-1]["bytes_an_entry"],
        triton_cpu_us_a_token=tuple(
            (at, found["triton_cpu_us_a_token"]) for at, found in points_of(results, "length").items()
        ),
        triton_cores=results["environment"]["cores"],
    )
