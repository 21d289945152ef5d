"""Inference is counted for the key that was let in, whatever becomes of the key meanwhile."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import pytest

from facade.access.guessing import Guesses
from facade.access.keys import KeyRing, Tier
from facade.access.memory_quotas import MemoryQuotas
from facade.context import SCOPE_KEY, RequestContext
from facade.errors import RateLimited
from facade.middleware.authenticate import Authenticate
from facade.middleware.quota import Quota

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "only-for-this-test"
TIER = Tier("small", requests_per_minute=2, tokens_per_minute=100, max_in_flight=1)


class Layers:
    """Authentication and quota around an application that does nothing but use seven tokens."""

    def __init__(self, current_ring: Callable[[], KeyRing]) -> None:
        self.refusals: list[str] = []
        self.stages: list[str] = []
        self.served = 0
        quota = Quota(self.serve, MemoryQuotas(), self.note_stage, self.refusals.append)
        self.app = Authenticate(quota, current_ring, Guesses(), {"/health/live"}, self.note_stage)

    def note_stage(self, stage: str, seconds: float) -> None:
        """Remember a stage."""
        assert seconds >= 0
        self.stages.append(stage)

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        self.served += 1
        scope[SCOPE_KEY].tokens = 7

    def call(self, method: str = "POST", path: str = "/v1/embeddings") -> RequestContext:
        """Send one request and return what is known of it."""
        context = RequestContext("id", {b"x-api-key": SECRET.encode()}, address=ip_address("127.0.0.1"))
        scope = {"type": "http", "method": method, "path": path, SCOPE_KEY: context}
        asyncio.run(self.app(scope, None, None))
        return context


def test_inference_is_counted_and_lists_are_not() -> None:
    """POSTs use the quota up and say what is left; GETs and public paths pass."""
    ring = KeyRing.from_secret(SECRET, tier=TIER)
    layers = Layers(lambda: ring)
    first, second = layers.call(), layers.call()
    with pytest.raises(RateLimited):
        layers.call()
    assert layers.call("GET").headers == layers.call("POST", "/health/live").headers == {}

    assert first.headers["x-ratelimit-remaining-requests"] == "1"
    assert second.headers["x-ratelimit-remaining-tokens"] == "93"
    assert layers.refusals == ["small"]
    assert layers.served == 4
    assert layers.stages.count("quota") == 3


def test_a_key_that_is_revoked_on_the_way_is_still_counted() -> None:
    """Whoever authentication let in is charged, even if its key is gone a moment later."""
    ring, empty = KeyRing.from_secret(SECRET, tier=TIER), KeyRing([], {})
    rings = [ring, empty, ring, empty, ring, empty]
    layers = Layers(lambda: rings.pop(0))
    for _ in range(2):
        assert "x-ratelimit-remaining-requests" in layers.call().headers
        assert rings.pop(0) is empty
    with pytest.raises(RateLimited):
        layers.call()


def test_limits_are_those_of_the_ring_that_let_in() -> None:
    """A tier that grew between two requests holds for the second."""
    rings = [KeyRing.from_secret(SECRET, tier=tier) for tier in (TIER, Tier("small", 9))]
    layers = Layers(lambda: rings.pop(0))

    assert layers.call().headers["x-ratelimit-limit-requests"] == "2"
    assert layers.call().headers["x-ratelimit-remaining-requests"] == "7"
