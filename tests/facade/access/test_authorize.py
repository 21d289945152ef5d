"""What a known key may do."""

from datetime import UTC, datetime, timedelta

import pytest

from facade.access.authorize import authorize, check_globs, may_use
from facade.access.keys import Key, to_digest
from facade.access.networks import NetworkSet, to_address
from facade.errors import PermissionDenied, Unauthenticated

NOW = datetime(2027, 1, 1, tzinfo=UTC)


def key(**fields: object) -> Key:
    """Make a key with *fields*."""
    return Key("a", to_digest("s"), "t", **fields)


def test_a_key_with_every_right_passes() -> None:
    """Right scope, model, network and time raise nothing."""
    full = key(
        models=("mini*", "chat"), networks=NetworkSet(["10.0.0.0/8"]), expires_at=NOW + timedelta(seconds=1)
    )
    authorize(full, "infer", "minilm", to_address("::ffff:10.1.1.1"), NOW)
    authorize(full, "infer", None, to_address("10.1.1.1"), NOW)
    authorize(key(), "infer", "anything")


def test_a_key_is_over_at_its_expiry_and_not_before() -> None:
    """At the moment itself the answer is 401 with words of its own, also for what it had no right to."""
    ends = key(expires_at=NOW)
    authorize(ends, "infer", now=NOW - timedelta(microseconds=1))
    with pytest.raises(Unauthenticated) as error:
        authorize(ends, "admin", now=NOW)
    assert error.value.code == "expired_api_key"
    with pytest.raises(Unauthenticated):
        authorize(key(expires_at=datetime(2020, 1, 1, tzinfo=UTC)), "infer")


@pytest.mark.parametrize(
    ("fields", "scope", "model", "address", "code"),
    [
        ({"networks": NetworkSet(["10.0.0.0/8"])}, "infer", None, "192.0.2.1", "network_not_allowed"),
        ({"networks": NetworkSet(["10.0.0.0/8"])}, "infer", None, "2001:db8::1", "network_not_allowed"),
        ({"networks": NetworkSet(["10.0.0.0/8"])}, "infer", None, "unknown", "network_not_allowed"),
        ({}, "admin", None, "192.0.2.1", "scope_not_allowed"),
        ({"scopes": frozenset({"admin"})}, "infer", None, "192.0.2.1", "scope_not_allowed"),
        ({"models": ("mini*",)}, "infer", "chat", "192.0.2.1", "model_not_allowed"),
        ({"models": ("mini*",)}, "infer", "Minilm", "192.0.2.1", "model_not_allowed"),
    ],
)
def test_a_missing_right_is_named(
    fields: dict[str, object], scope: str, model: str | None, address: str, code: str
) -> None:
    """403 with a code for each kind of right."""
    with pytest.raises(PermissionDenied) as error:
        authorize(key(**fields), scope, model, to_address(address), NOW)
    assert error.value.code == code


def test_globs_choose_models() -> None:
    """Star, question mark and sets work, and case counts."""
    narrow = ("mini?m", "chat-[ab]")
    assert [may_use(narrow, name) for name in ("minilm", "minim", "chat-a", "chat-c", "")] == [
        True, False, True, False, False,
    ]  # fmt: skip


def test_a_model_named_in_the_body_is_checked_against_the_keys_globs() -> None:
    """The refusal names the field and the model, existing or not."""
    check_globs(("mini*",), "minilm")
    with pytest.raises(PermissionDenied, match="'chat'") as error:
        check_globs(("mini*",), "chat")
    assert (error.value.param, error.value.code) == ("model", "model_not_allowed")
