"""The keys file is read strictly, and what is wrong with it is said precisely."""

from datetime import UTC, datetime, timedelta

import pytest

from facade.access import key_text
from facade.access.key_text import parse_keys, to_expiry
from facade.access.keys import KeysInvalid, Tier, to_digest
from facade.access.networks import NetworkSet

DIGEST = to_digest("s").hex()
HEAD = "tiers: {t: {}}\nkeys:\n"


def one(fields: str) -> str:
    """Write a file with a key ``a`` whose further fields are *fields*."""
    return f"{HEAD}  - {{name: a, sha256: '{DIGEST}', tier: t{fields}}}\n"


def test_a_full_file_is_read_as_written() -> None:
    """Every field of tiers and keys arrives."""
    ring = parse_keys(f"""
    tiers:
      gold: {{requests_per_minute: 600, tokens_per_minute: 9000, max_in_flight: 8, priority: 2, weight: 3}}
      open: {{requests_per_minute: null}}
      bare:
    keys:
      - name: alice
        sha256: "{DIGEST.upper()}"
        tier: gold
        models: ["mini*", chat]
        networks: ["10.0.0.0/8", "2001:db8::/32"]
        expires: 2027-01-31
        scopes: [infer, metrics]
        cache: private
    """)
    key = ring.find("s")
    assert key is not None
    assert key.models == ("mini*", "chat")
    assert key.networks == NetworkSet(["2001:db8::/32", "10.0.0.0/8"])
    assert key.expires_at == datetime(2027, 1, 31, tzinfo=UTC)
    assert key.scopes == {"infer", "metrics"}
    assert key.cache == "private"
    assert ring.tiers == {
        "gold": Tier("gold", 600, 9000, 8, 2, 3),
        "open": Tier("open"),
        "bare": Tier("bare"),
    }


def test_an_empty_file_lets_nobody_in() -> None:
    """No keys is a valid state, in which no secret is known."""
    assert len(parse_keys("")) == 0
    assert parse_keys("keys:\ntiers:\n").find("s") is None


def test_left_out_fields_mean_the_least_surprising() -> None:
    """A bare key may infer with all models from anywhere for ever."""
    key = parse_keys(one("")).keys["a"]
    assert (key.models, bool(key.networks), key.expires_at, key.scopes) == (("*",), False, None, {"infer"})
    assert key.cache is None


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1, 2]", "the file: must be a mapping"),
        ("tiers: {}\nkey: []", "unknown field 'key'; known are keys, tiers"),
        ("tiers: [t]", "tiers: must be a mapping"),
        ("tiers: {'a b': {}}", "tier 'a b': the name must be"),
        ("tiers: {t: {requests_per_minute: 0}}", "tier 't', field 'requests_per_minute': must be a whole"),
        ("tiers: {t: {max_in_flight: no}}", "tier 't', field 'max_in_flight': must be a whole"),
        ("tiers: {t: {priority: null}}", "tier 't', field 'priority': must be a whole"),
        ("tiers: {t: {weight: 1.5}}", "tier 't', field 'weight': must be a whole"),
        ("tiers: {t: {priority: 11}}", "tier 't', field 'priority': must not be larger than 10"),
        ("tiers: {t: {weight: 1001}}", "tier 't', field 'weight': must not be larger than 1000"),
        (
            "tiers: {t: {max_in_flight: 9007199254740992}}",
            "field 'max_in_flight': must not be larger than 9007",
        ),
        ("tiers: {t: {rpm: 1}}", "tier 't': unknown field 'rpm'"),
        ("keys: {a: {}}", "field 'keys': must be a list"),
        ("keys: [a]", r"keys\[0\]: must be a mapping"),
        ("keys: [{}]", r"keys\[0\], field 'name': must be text"),
        ("keys: [{name: 12}]", r"keys\[0\], field 'name': must be text"),
        ("keys: [{name: 'a{b}'}]", r"keys\[0\], field 'name': must be text"),
        ("keys: [{name: a, tier: t}]", r"keys\[0\] 'a', field 'sha256': is missing"),
        (f"keys: [{{name: a, sha256: '{DIGEST}'}}]", r"keys\[0\] 'a', field 'tier': is missing"),
        (one("").replace(DIGEST, "hunter2"), r"keys\[0\] 'a', field 'sha256': must be the secret's SHA-256"),
        (one("").replace("tier: t", "tier: 3"), r"keys\[0\] 'a', field 'tier': must be text"),
        (one(", networks: [10.0.0.1/8]"), r"keys\[0\] 'a', field 'networks': entry 0 is not a network"),
        (one(", networks: []"), r"field 'networks': must be a list of at least one"),
        (one(", models: chat"), r"field 'models': must be a list"),
        (one(", scopes: [root]"), r"field 'scopes': knows only admin, infer, metrics"),
        (one(", cache: public"), r"keys\[0\] 'a', field 'cache': knows only private, shared"),
        (one(", cache: [shared]"), r"keys\[0\] 'a', field 'cache': knows only private, shared"),
        (one(", cache: null"), r"keys\[0\] 'a', field 'cache': knows only private, shared"),
        (one(", expires: 2027-13-01"), r"keys\[0\] 'a', field 'expires': must be a date"),
        (one(", expires: [1]"), r"keys\[0\] 'a', field 'expires': must be a date"),
        (one(", expire: 2027-01-01"), r"keys\[0\] 'a': unknown field 'expire'"),
        (one("") + one("").removeprefix(HEAD), "key 'a': the name is used twice"),
        (
            one("") + one("").removeprefix(HEAD).replace("name: a", "name: b"),
            "'b': has the same sha256 as key 'a'",
        ),
        (one("").replace("tier: t", "tier: u"), "key 'a', field 'tier': there is no tier 'u'"),
        ("tiers:\n  t: {}\n  t: {}\n", "line 2: a field is given twice"),
        (one(", tier: t"), "line 3: a field is given twice"),
        ("tiers: {t: {}\nkeys: []", "line 2: not valid YAML"),
        ("keys: !!python/object/apply:os.system [true]", "line 1: not valid YAML"),
        ("a: \x00", "not valid YAML"),
        ("[" * 100_000, "nested too deeply"),
        ("{a: " * 100_000, "nested too deeply"),
        ("- " * 100_000, "nested too deeply"),
    ],
)
def test_each_mistake_is_named_with_its_place(text: str, complaint: str) -> None:
    """The message says which key or tier, and which field."""
    with pytest.raises(KeysInvalid, match=complaint):
        parse_keys(text)


@pytest.mark.parametrize("broken", ["", "}", "\n: ["])
def test_a_pasted_secret_is_not_repeated(broken: str) -> None:
    """A secret where its hash belongs stays out of the message, which goes to the log."""
    with pytest.raises(KeysInvalid) as error:
        parse_keys(f"tiers: {{t: {{}}}}\nkeys: [{{name: a, tier: t, sha256: tf_hunter2 {broken}}}]")
    assert "hunter2" not in str(error.value)


def test_a_file_beyond_the_bound_is_not_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Size is checked before the parser sees anything."""
    monkeypatch.setattr(key_text, "TEXT_LIMIT_BYTES", 10)
    with pytest.raises(KeysInvalid, match="larger than 10 bytes"):
        parse_keys("tiers: {t: {}}")


def test_an_expiry_without_offset_is_utc() -> None:
    """Dates, naive and offset times mean one moment each."""
    noon = datetime(2027, 1, 31, 12, tzinfo=UTC)
    assert to_expiry("2027-01-31") == noon - timedelta(hours=12)
    assert [to_expiry(f"2027-01-31T{rest}") for rest in ("12:00:00", "12:00:00Z", "13:00+01:00")] == [
        noon
    ] * 3
    assert to_expiry(None) is None
