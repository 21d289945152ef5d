"""Two items share a key only if nothing that could change the answer differs."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.cache.keys import NAMESPACE, ItemKeys, model_prefix

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-100, 100)
    | st.floats(allow_nan=False)
    | st.text("ab", max_size=3)
)
PARAMETERS = st.dictionaries(st.text("ab", max_size=2), SCALARS | st.lists(SCALARS, max_size=2), max_size=3)
# Few letters, so that fields often differ only in where one ends and the next begins.
FIELDS = st.tuples(
    st.text("ab:", max_size=3),
    st.text("ab:{}*", max_size=3),
    st.sampled_from(["1", "12", "2"]),
    st.text("ab", max_size=3),
    PARAMETERS,
    st.binary(max_size=3),
)


def key_of(fields: tuple[str, str, str, str, dict[str, object], bytes]) -> bytes:
    """Key of the item that *fields* describe."""
    scope, model, version, task, parameters, item = fields
    keys = ItemKeys(scope=scope, model=model, version=version, task=task, parameters=parameters)
    return keys.key(item)


@given(FIELDS, FIELDS)
def test_two_items_share_a_key_only_if_all_fields_are_the_same(first: tuple, second: tuple) -> None:  # type: ignore[type-arg]
    """Neither neighbours that run into each other nor 1, 1.0 and True give one key to two items."""
    # repr tells 1 from 1.0 and True, and 0.0 from -0.0; sorted, as order must not count.
    same = repr((*first[:4], sorted(first[4].items()), first[5])) == repr(
        (*second[:4], sorted(second[4].items()), second[5])
    )
    assert (key_of(first) == key_of(second)) is same


CUTS = st.lists(st.integers(0, 6), min_size=3, max_size=3).map(sorted)


@given(st.text("ab", min_size=6, max_size=6), CUTS, CUTS)
def test_fields_that_only_together_read_the_same_are_two_items(
    text: str, first: list[int], second: list[int]
) -> None:
    """The same letters, cut into scope, model, version and task at other places, give another digest."""
    digests = []
    for one, two, three in (first, second):
        key = key_of((text[:one], text[one:two], text[two:three], text[three:], {}, b"i"))
        digests.append(key.rpartition(b":")[2])
    assert (digests[0] == digests[1]) is (first == second)


@given(PARAMETERS)
def test_the_order_of_parameters_does_not_count(parameters: dict[str, object]) -> None:
    """The same parameters in another order are the same item."""
    turned = dict(reversed(parameters.items()))
    assert key_of(("s", "m", "1", "t", parameters, b"i")) == key_of(("s", "m", "1", "t", turned, b"i"))


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_models_prefix_finds_its_keys_and_no_others(model: str, other: str) -> None:
    """A purge by prefix takes all versions of one model and nothing of another."""
    key = key_of(("s", model, "7", "t", {}, b"i"))
    assert key.startswith(model_prefix(model))
    assert key.startswith(model_prefix(other)) is (model == other)


@given(st.text(max_size=20), st.binary(max_size=40))
def test_a_key_has_nothing_that_redis_takes_for_something_else(model: str, item: bytes) -> None:
    """No brace (hash tag), no pattern character in the prefix, nothing unprintable."""
    key = key_of(("s", model, "1", "t", {}, item))
    assert key.startswith(NAMESPACE)
    assert not set(key) & set(b"{} \n")
    assert all(33 <= byte < 127 for byte in key)
    assert not set(model_prefix(model)) & set(b"*?[]\\^")


def test_parameters_without_a_canonical_form_are_refused() -> None:
    """An object whose bytes could differ from run to run gives no key."""
    with pytest.raises(TypeError):
        key_of(("s", "m", "1", "t", {"a": object()}, b"i"))


def test_a_key_costs_a_few_microseconds() -> None:
    """The best of several rounds stays far below what a request costs."""
    keys = ItemKeys(scope="shared", model="minilm", version=3, task="embedding", parameters={})
    rounds = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(1000):
            keys.key(b"a text of ordinary length, as callers send them")
        rounds.append((time.perf_counter() - began) / 1000)
    assert min(rounds) < 10e-6
