"""Rates times costs: how many of everything; pure."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.load.capacity.costs import Costs


@dataclass(frozen=True)
class Plan:
    """What is asked for, and how much to leave free."""

    requests_per_s: float
    """At the peak."""

    texts_a_request: float = 1.0
    """Mean."""

    tokens_a_text: float = 29.0
    """Mean of those that are computed."""

    hit_rate: float = 0.0
    """Share of texts whose answer is known."""

    triton_tokens_per_s: float | None = None
    """Of one Triton; None takes the measured CPU's."""

    uses_redis: bool = True
    """Whether façades share quotas and cache."""

    kept_answers: float = 0.0
    """Answers that Redis is to hold."""

    headroom: float = 0.4
    """Share of each part that stays free at the peak."""

    spares: int = 1
    """Façades and Tritons beyond what the peak needs: so many may fail, or be replaced, at the peak."""

    workers_a_facade: int = 4
    """Worker processes, and so cores, of one façade."""

    shard_memory_gib: float = 8.0
    """Memory of one Redis shard that answers may fill."""

    shard_bytes_per_s: float = 500e6
    """What one shard's network may carry: 4 of 10 Gbit/s."""


@dataclass(frozen=True)
class Need:
    """How many of one part."""

    part: str
    """Its name."""

    count: int
    """How many, spares included."""

    load: float
    """What all of it has to do, in whole units without headroom: cores of a façade, Tritons, shards."""

    because: str
    """What decides, in words."""


def facade_cpu_us(costs: Costs, plan: Plan) -> float:
    """
    Predict the façade's CPU time for a mean request.

    Args:
        costs: What was measured.

        plan: What is asked.

    Returns:
        Microseconds.
    """
    text_us = plan.hit_rate * costs.facade_known_text_us + (1 - plan.hit_rate) * costs.facade_computed_text_us
    request_us, computed_us = costs.facade_request_us, costs.facade_computed_request_us
    if plan.uses_redis:
        request_us += costs.facade_redis_us
        computed_us += costs.facade_redis_computed_us
    # Texts are taken to be known independently of each other.
    share_computed = 1 - plan.hit_rate**plan.texts_a_request
    return request_us + plan.texts_a_request * text_us + share_computed * computed_us


def computed_texts(plan: Plan) -> float:
    """Texts of a mean request that aren't known."""
    return plan.texts_a_request * (1 - plan.hit_rate)


def redis_cpu_us(costs: Costs, plan: Plan) -> float:
    """Predict Redis's CPU time for a mean request, in microseconds."""
    return costs.redis_request_us + computed_texts(plan) * costs.redis_computed_text_us


def redis_bytes(costs: Costs, plan: Plan) -> float:
    """Predict what a mean request moves to and from Redis, in bytes."""
    return costs.redis_request_bytes + computed_texts(plan) * costs.redis_computed_text_bytes


def token_cpu_us(costs: Costs, tokens_a_text: float) -> float:
    """
    Predict a CPU Triton's time for one token, between the lengths that were measured.

    Args:
        costs: What was measured.

        tokens_a_text: Length.

    Returns:
        Microseconds; beyond the shortest and the longest length theirs.
    """
    lengths = [length for length, _ in costs.triton_cpu_us_a_token]
    place = bisect_left(lengths, tokens_a_text)
    if place == 0:
        return costs.triton_cpu_us_a_token[0][1]
    if place == len(lengths):
        return costs.triton_cpu_us_a_token[-1][1]
    (left, below), (right, above) = costs.triton_cpu_us_a_token[place - 1 : place + 1]
    return below + (above - below) * (tokens_a_text - left) / (right - left)


def triton_tokens_per_s(costs: Costs, plan: Plan) -> float:
    """
    Tell what one Triton reads.

    Args:
        costs: What was measured.

        plan: Its own figure counts, if it has one.

    Returns:
        Tokens a second, at full load.
    """
    if plan.triton_tokens_per_s is not None:
        return plan.triton_tokens_per_s
    return costs.triton_cores * 1e6 / token_cpu_us(costs, plan.tokens_a_text)


def size(costs: Costs, plan: Plan) -> list[Need]:
    """
    Say how many of everything.

    Args:
        costs: What was measured.

        plan: What is asked.

    Returns:
        Façades, Tritons, and shards if Redis is used.
    """
    full = 1 - plan.headroom
    cores = plan.requests_per_s * facade_cpu_us(costs, plan) / 1e6
    facades = math.ceil(cores / full / plan.workers_a_facade)
    tokens_per_s = plan.requests_per_s * computed_texts(plan) * plan.tokens_a_text
    tritons = tokens_per_s / triton_tokens_per_s(costs, plan)
    needs = [
        Need(
            "façades",
            max(1, facades) + plan.spares,
            cores,
            f"{facade_cpu_us(costs, plan):,.0f} µs of CPU a request: {cores:,.2f} busy cores, "
            f"{plan.workers_a_facade} workers each",
        ),
        Need(
            "Tritons",
            max(1, math.ceil(tritons / full)) + plan.spares,
            tritons,
            f"{tokens_per_s:,.0f} tokens/s, of which one does {triton_tokens_per_s(costs, plan):,.0f}",
        ),
    ]
    return [*needs, _size_redis(costs, plan)] if plan.uses_redis else needs


def _size_redis(costs: Costs, plan: Plan) -> Need:
    """Take the scarcest of a shard's core, network and memory."""
    shards = {
        "CPU": plan.requests_per_s * redis_cpu_us(costs, plan) / 1e6,
        "network": plan.requests_per_s * redis_bytes(costs, plan) / plan.shard_bytes_per_s,
        "memory": plan.kept_answers * costs.redis_answer_bytes / plan.shard_memory_gib / 2**30,
    }
    scarce = max(shards, key=lambda name: shards[name])
    # Memory is a bound that is set, and not a load that comes in bursts: it needs no headroom.
    count = max(
        math.ceil(load / (1 if name == "memory" else 1 - plan.headroom)) for name, load in shards.items()
    )
    shown = ", ".join(f"{name} {load:,.2f}" for name, load in shards.items())
    return Need("Redis shards", max(1, count), shards[scarce], f"shards' worth: {shown}; {scarce} decides")
