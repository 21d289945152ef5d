"""Cache-Control is read as the standard says, and answers live as long as the guide says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.cache.policy import (
    NO_DIRECTIVES,
    Directives,
    cache_scope,
    cache_ttl_s,
    is_kept,
    outcome_word,
    parse_cache_control,
)
from facade.errors import InvalidInput


@pytest.mark.parametrize(
    ("header", "directives"),
    [
        (None, NO_DIRECTIVES),
        ("", NO_DIRECTIVES),
        ("no-cache", Directives(no_cache=True)),
        ("No-Store , max-stale", Directives(no_store=True)),
        ("only-if-cached,max-age=5", Directives(only_if_cached=True, max_age_s=5)),
        ('max-age="60"', Directives(max_age_s=60)),
        ("max-age=0", Directives(max_age_s=0)),
        ("max-age=007", Directives(max_age_s=7)),
        ("max-age=9, max-age=3", Directives(max_age_s=3)),
        ("max-age=" + "9" * 5000, Directives(max_age_s=2**31)),
        ("community=UCI, min-fresh=soon, ,", NO_DIRECTIVES),
    ],
)
def test_directives_are_read_and_unknown_ones_ignored(header: str | None, directives: Directives) -> None:
    """Case, blanks and quotes don't matter; the smallest max-age counts."""
    assert parse_cache_control(header) == directives


@pytest.mark.parametrize(
    "header", ["max-age", "max-age=", "max-age=-1", "max-age=1.5", "max-age=x", "max-age=¹"]
)
def test_an_age_that_is_none_is_refused_by_the_headers_name(header: str) -> None:
    """The caller is told which header to mend."""
    with pytest.raises(InvalidInput, match="Cache-Control") as refused:
        parse_cache_control(header)
    assert refused.value.param == "Cache-Control"


@given(st.text(max_size=60))
def test_any_header_is_read_or_refused(header: str) -> None:
    """No header makes the parser fail in another way."""
    try:
        directives = parse_cache_control(header)
    except InvalidInput:
        return
    assert directives.max_age_s is None or 0 <= directives.max_age_s <= 2**31


@pytest.mark.parametrize(
    ("task", "card_ttl_s", "ttl_s"),
    [
        ("text-generation", None, 300),
        ("text-generation", 120, 120),
        ("text-generation", 10, 60),
        ("text-generation", 9000, 300),
        ("text-generation", 0, 0),
        ("embedding", None, 86_400),
        ("reranking", None, 86_400),
        ("text-classification", 3600, 3600),
        ("embedding", 0, 0),
    ],
)
def test_answers_live_as_long_as_the_guide_says(task: str, card_ttl_s: float | None, ttl_s: float) -> None:
    """Conversations 1 to 5 minutes, stable content a day, unless the card says otherwise."""
    assert cache_ttl_s(task, card_ttl_s) == ttl_s


def test_generations_are_private_and_the_rest_is_shared_unless_configured() -> None:
    """Two callers share an entry only where their scope is the same word."""
    assert cache_scope("text-generation", "alice") != cache_scope("text-generation", "bob")
    assert cache_scope("embedding", "alice") == cache_scope("embedding", "bob")
    assert cache_scope("embedding", "alice", "private") != cache_scope("embedding", "bob", "private")
    assert cache_scope("text-generation", "alice", "shared") == cache_scope(
        "text-generation", "bob", "shared"
    )
    assert cache_scope("embedding", "shared", "private") != cache_scope("embedding", "x", "shared")


def test_a_sampled_answer_is_kept_only_if_the_caller_asks() -> None:
    """Naming an age that would do is asking."""
    assert is_kept(NO_DIRECTIVES, deterministic=True)
    assert not is_kept(NO_DIRECTIVES, deterministic=False)
    assert is_kept(Directives(max_age_s=60), deterministic=False)
    assert is_kept(Directives(only_if_cached=True), deterministic=False)


def test_the_answers_word_says_where_it_came_from() -> None:
    """One item from Redis makes it hit-redis, one computed beside a hit makes it partial."""
    assert outcome_word(3, 0, 0) == "hit-memory"
    assert outcome_word(3, 1, 0) == "hit-redis"
    assert outcome_word(3, 0, 1) == "partial"
    assert outcome_word(0, 1, 1) == "partial"
    assert outcome_word(0, 0, 2) == "miss"
