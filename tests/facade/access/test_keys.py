"""Keys are found by their secret, and by nothing else."""

import time

import pytest

from facade.access.keys import Key, KeyRing, KeysInvalid, Tier, to_digest

TIERS = {"free": Tier("free", 60)}


def test_a_secret_finds_its_own_key() -> None:
    """Each secret finds the key with its hash, other texts find none."""
    ring = KeyRing([Key("a", to_digest("sa"), "free"), Key("b", to_digest("sb"), "free")], TIERS)
    found = ring.find("sb")
    assert found is not None
    assert found.name == "b"
    assert ring.tier_of(found) is TIERS["free"]
    assert [ring.find(text) for text in ("", "s", "sb ", "SB", "x" * 10_000, "\udcff")] == [None] * 6
    assert len(ring) == 2


def test_a_stored_hash_is_no_secret() -> None:
    """Presenting what the file holds doesn't open anything."""
    digest = to_digest("sa")
    ring = KeyRing([Key("a", digest, "free")], TIERS)
    assert ring.find(digest.hex()) is None
    assert ring.find(digest.decode("latin-1")) is None


@pytest.mark.parametrize(
    ("keys", "complaint"),
    [
        ([Key("a", to_digest("1"), "free"), Key("a", to_digest("2"), "free")], "'a': the name is used twice"),
        (
            [Key("a", to_digest("1"), "free"), Key("b", to_digest("1"), "free")],
            "'b': has the same sha256 as key 'a'",
        ),
        ([Key("a", to_digest("1"), "gold")], "'a', field 'tier': there is no tier 'gold'"),
    ],
)
def test_keys_that_do_not_fit_together_are_named(keys: list[Key], complaint: str) -> None:
    """Double names, double hashes and unknown tiers are refused."""
    with pytest.raises(KeysInvalid, match=complaint):
        KeyRing(keys, TIERS)


def test_a_single_secret_makes_a_ring_without_limits() -> None:
    """The one key may infer and read metrics, without limits, and isn't an administrator unless asked for."""
    ring = KeyRing.from_secret("only one")
    key = ring.find("only one")
    assert key is not None
    assert key.scopes == {"infer", "metrics"}
    assert ring.tier_of(key).is_unlimited
    assert not Tier("t", max_in_flight=1).is_unlimited
    narrow = KeyRing.from_secret("s", scopes=["admin"], tier=Tier("t", 5))
    assert narrow.keys["default"].scopes == {"admin"}
    assert narrow.tier_of(narrow.keys["default"]).requests_per_minute == 5


@pytest.mark.parametrize("secret", ["", "  ", "x" * 513, "schlüssel"])
def test_a_secret_that_nobody_could_present_is_refused(secret: str) -> None:
    """A blank, endless or non-ASCII single key is a mistake in the settings."""
    with pytest.raises(KeysInvalid, match="ASCII"):
        KeyRing.from_secret(secret)


def test_a_hundred_thousand_keys_cost_no_more_than_ten() -> None:
    """Finding a key doesn't depend on how many there are."""

    def cost_s(count: int) -> float:
        ring = KeyRing([Key(f"k{n}", to_digest(f"s{n}"), "free") for n in range(count)], TIERS)
        best = 1.0
        for _ in range(5):
            began = time.process_time()
            for _ in range(2000):
                ring.find("s7")
                ring.find("nobody's")
            best = min(best, time.process_time() - began)
        return best

    assert cost_s(100_000) < 5 * cost_s(10)
