"""The first tier gives out fresh answers only, and stays within its bytes."""

from __future__ import annotations

import time
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from facade.cache.memory import ENTRY_OVERHEAD_BYTES, MemoryTier
from tests.facade.cache.recorder import Clock


def test_an_answer_is_given_out_with_its_age_until_its_time_is_over() -> None:
    """Age counts from when the answer was computed, freshness ends at the second."""
    clock = Clock()
    tier = MemoryTier(10_000, clock=clock)
    tier.set(b"k", b"v", 60, age_s=5)
    clock.now += 59
    hit = tier.get(b"k")
    assert hit is not None
    assert hit.value == b"v"
    assert hit.age_s == 64
    clock.now += 1
    assert tier.get(b"k") is None
    assert (len(tier), tier.size_bytes) == (0, 0)


def test_the_least_recently_used_goes_first() -> None:
    """A look counts as use."""
    tier = MemoryTier(2 * (ENTRY_OVERHEAD_BYTES + 100), clock=Clock())
    tier.set(b"a", b"1", 60)
    tier.set(b"b", b"2", 60)
    tier.get(b"a")
    tier.set(b"c", b"3", 60)
    assert tier.get(b"b") is None
    assert tier.get(b"a") is not None
    assert tier.get(b"c") is not None


def test_what_is_too_large_or_already_old_is_not_kept() -> None:
    """An answer that can't be kept leaves no older one under its key."""
    tier = MemoryTier(1000, clock=Clock())
    tier.set(b"k", b"v", 60)
    tier.set(b"k", bytes(2000), 60)
    assert tier.get(b"k") is None
    tier.set(b"k", b"v", 0)
    assert (len(tier), tier.size_bytes) == (0, 0)


def test_a_bound_of_nothing_keeps_nothing() -> None:
    """Zero bytes switch the tier off."""
    tier = MemoryTier(0)
    tier.set(b"k", b"", 60)
    assert tier.get(b"k") is None


def test_a_prefix_is_forgotten_and_the_rest_stays() -> None:
    """What is dropped is counted and its bytes are free again."""
    tier = MemoryTier(10_000)
    for key in (b"m:1", b"m:2", b"n:1"):
        tier.set(key, b"v", 60)
    assert tier.forget(b"m:") == 2
    assert tier.get(b"n:1") is not None
    assert tier.get(b"m:1") is None


KEYS = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
STEPS = st.lists(
    st.tuples(st.just("set"), KEYS, st.integers(0, 900), st.integers(0, 50))
    | st.tuples(st.just("get"), KEYS, st.just(0), st.just(0))
    | st.tuples(st.just("wait"), st.just(b""), st.just(0), st.integers(1, 30)),
    max_size=60,
)


@given(STEPS)
def test_the_tier_agrees_with_a_plain_dictionary_and_its_bound(
    steps: list[tuple[str, bytes, int, int]],
) -> None:
    """Whatever comes out is what was put in last and still fresh; bytes are counted right and never too many."""
    clock = Clock()
    tier = MemoryTier(1500, clock=clock)
    model: dict[bytes, tuple[bytes, float]] = {}
    for step, key, size, seconds in steps:
        if step == "set":
            value = bytes(size)
            tier.set(key, value, seconds)
            model[key] = (value, clock.now + seconds)
        elif step == "wait":
            clock.now += seconds
        elif (hit := tier.get(key)) is not None:
            value, expires = model[key]
            assert hit.value == value
            assert clock.now < expires
        assert tier.size_bytes == sum(entry[3] for entry in tier._entries.values())
        assert tier.size_bytes <= 1500


def test_the_bytes_counted_are_those_taken() -> None:
    """With 200,000 entries the estimate is within a quarter of what Python allocated, and not below it."""
    tier = MemoryTier(10**9)
    tracemalloc.start()
    try:
        for number in range(200_000):
            tier.set(b"tf:c1:minilm:3:%044d" % number, number.to_bytes(200, "little"), 60)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert taken <= tier.size_bytes <= 1.25 * taken


def test_a_million_entries_stay_right_and_quick() -> None:
    """The oldest are gone, the newest are here, the bound holds, and a look costs as little as with ten."""
    entry_bytes = ENTRY_OVERHEAD_BYTES + 33 + 20 + 33 + 4
    tier = MemoryTier(1_000_000 * entry_bytes)
    for number in range(1_100_000):
        tier.set(b"%020d" % number, number.to_bytes(4, "little"), 60)
    assert len(tier) == 1_000_000
    assert tier.size_bytes == tier.limit_bytes
    assert tier.get(b"%020d" % 99_999) is None
    hit = tier.get(b"%020d" % 100_000)
    assert hit is not None
    assert hit.value == (100_000).to_bytes(4, "little")
    keys = [b"%020d" % number for number in range(200_000, 201_000)]
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for key in keys:
            tier.get(key)
        rounds.append((time.perf_counter() - began) / len(keys))
    assert min(rounds) < 10e-6
