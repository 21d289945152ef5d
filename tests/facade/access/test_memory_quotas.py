"""One process's quotas, against a clock that the tests move."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import wraps

import pytest

from facade.access.keys import Key, Tier, to_digest
from facade.access.memory_quotas import FIRST_SWEEP, MemoryQuotas
from facade.access.quotas import UNLIMITED
from facade.errors import RateLimited

ALICE = Key("alice", to_digest("a"), "t")
BOB = Key("bob", to_digest("b"), "t")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now_s = 6000.0

    def __call__(self) -> float:
        """Return the present second."""
        return self.now_s


def in_loop(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[], None]:
    """Run a coroutine test in a loop of its own."""

    @wraps(test)
    def run() -> None:
        asyncio.run(test())

    return run


async def admitted(quotas: MemoryQuotas, tier: Tier, attempts: int, key: Key = ALICE) -> int:
    """Count how many of *attempts* are let in, each released at once."""
    count = 0
    for _ in range(attempts):
        try:
            lease = await quotas.admit(key, tier)
        except RateLimited:
            continue
        count += 1
        await lease.release()
    return count


@in_loop
async def test_a_minute_lets_in_its_limit_and_slides() -> None:
    """60 in the first window, nothing at its end, half of it half a window later, never twice the limit."""
    clock = Clock()
    quotas = MemoryQuotas(clock=clock)
    tier = Tier("t", requests_per_minute=60)
    assert await admitted(quotas, tier, 100) == 60
    clock.now_s += 59.9
    assert await admitted(quotas, tier, 100) == 0
    clock.now_s += 30.1
    assert await admitted(quotas, tier, 100) == 30
    clock.now_s += 600
    assert await admitted(quotas, tier, 100) == 60
    await quotas.aclose()


@in_loop
async def test_keys_do_not_share_and_costs_count() -> None:
    """Each key has its own count; a request can count for several."""
    quotas = MemoryQuotas(clock=Clock())
    tier = Tier("t", requests_per_minute=10)
    lease = await quotas.admit(ALICE, tier, 8)
    assert lease.headers()["x-ratelimit-remaining-requests"] == "2"
    with pytest.raises(RateLimited):
        await quotas.admit(ALICE, tier, 3)
    assert await admitted(quotas, tier, 5) == 2
    assert await admitted(quotas, tier, 20, BOB) == 10


@in_loop
async def test_tokens_are_charged_afterwards_and_close_the_next_request() -> None:
    """The answer that exceeds the limit is given; the one after it waits until enough has slid out."""
    clock = Clock()
    quotas = MemoryQuotas(clock=clock, jitter=lambda: 0.0)
    tier = Tier("t", tokens_per_minute=1000)
    lease = await quotas.admit(ALICE, tier)
    await lease.release(tokens=2000)
    await lease.release(tokens=2000)
    with pytest.raises(RateLimited) as error:
        await quotas.admit(ALICE, tier)
    assert error.value.headers["x-ratelimit-remaining-tokens"] == "0"
    assert error.value.retry_after_s == pytest.approx(90.0, abs=0.1)
    clock.now_s += error.value.retry_after_s + 0.01
    await quotas.admit(ALICE, tier)


@in_loop
async def test_tokens_count_in_the_window_in_which_they_become_known() -> None:
    """A long answer is charged when it ends."""
    clock = Clock()
    quotas = MemoryQuotas(clock=clock)
    tier = Tier("t", tokens_per_minute=100)
    lease = await quotas.admit(ALICE, tier)
    clock.now_s += 300
    await lease.release(tokens=100)
    with pytest.raises(RateLimited):
        await quotas.admit(ALICE, tier)


@in_loop
async def test_places_are_limited_and_come_back_once() -> None:
    """Two at once, a third when one is released, and a double release frees one place only."""
    quotas = MemoryQuotas(clock=Clock())
    tier = Tier("t", requests_per_minute=100, max_in_flight=2)
    first = await quotas.admit(ALICE, tier)
    await quotas.admit(ALICE, tier)
    with pytest.raises(RateLimited, match="at the same time") as error:
        await quotas.admit(ALICE, tier)
    assert error.value.headers["x-ratelimit-remaining-requests"] == "98"
    await first.release()
    await first.release()
    await quotas.admit(ALICE, tier)
    with pytest.raises(RateLimited):
        await quotas.admit(ALICE, tier)


@in_loop
async def test_a_changed_tier_holds_at_once_and_keeps_the_count() -> None:
    """Raising a limit adds the difference, lowering it below the count refuses."""
    quotas = MemoryQuotas(clock=Clock())
    assert await admitted(quotas, Tier("t", 10), 20) == 10
    assert await admitted(quotas, Tier("t", 15), 20) == 5
    assert await admitted(quotas, Tier("t", 5), 20) == 0
    assert await quotas.admit(ALICE, Tier("t")) is UNLIMITED


@in_loop
async def test_replicas_grant_their_share() -> None:
    """A quarter of each limit, and one where a quarter would be none."""
    quotas = MemoryQuotas(4, clock=Clock())
    assert await admitted(quotas, Tier("t", 400), 500) == 100
    assert await admitted(quotas, Tier("t", 2), 10, BOB) == 1
    await quotas.admit(Key("c", to_digest("c"), "t"), Tier("t", max_in_flight=3))
    with pytest.raises(RateLimited):
        await quotas.admit(Key("c", to_digest("c"), "t"), Tier("t", max_in_flight=3))


@in_loop
async def test_idle_accounts_are_forgotten_and_busy_ones_are_not() -> None:
    """Names that no longer call don't stay in memory; a lease held for long keeps its account."""
    clock = Clock()
    quotas = MemoryQuotas(clock=clock)
    tier = Tier("t", 100, max_in_flight=1)
    await quotas.admit(ALICE, tier)
    for number in range(FIRST_SWEEP - 1):
        await admitted(quotas, tier, 1, Key(f"k{number}", to_digest(f"k{number}"), "t"))
    assert len(quotas) == FIRST_SWEEP
    clock.now_s += 600
    await admitted(quotas, tier, 1, BOB)
    assert len(quotas) == 2
    with pytest.raises(RateLimited):
        await quotas.admit(ALICE, tier)


@in_loop
async def test_counting_costs_microseconds() -> None:
    """Admitting and releasing stays within 10 µs of CPU on an idle core; 40 leaves room for a busy machine."""
    quotas = MemoryQuotas()
    tier = Tier("t", 10**9, 10**9, 10)
    best_s = 1.0
    for _ in range(5):
        began = time.process_time()
        for _ in range(2000):
            lease = await quotas.admit(ALICE, tier)
            await lease.release(5)
        best_s = min(best_s, (time.process_time() - began) / 2000)
    assert best_s < 40e-6
