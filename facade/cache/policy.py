"""What the caller asks for in ``Cache-Control``, how long answers live, who shares them, and the answer's words."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from facade.errors import InvalidInput

CONVERSATION_TTL_S = (60.0, 300.0)
"""Shortest and longest life of a conversation's answer, in seconds: the guide's 1 to 5 minutes."""

STABLE_TTL_S = 86_400.0
"""Life of an answer that only a new model version would change, in seconds: the guide's 24 hours."""

_MAX_AGE_LIMIT_S = 2**31
"""RFC 9111, section 1.2.2: a larger delta-seconds counts as 2^31."""

Scope = Literal["private", "shared"]
Outcome = Literal["hit-memory", "hit-redis", "partial", "miss", "bypass"]


@dataclass(frozen=True, slots=True)
class Directives:
    """What a request asks of the cache; RFC 9111, section 5.2.1."""

    no_cache: bool = False
    """Compute afresh, then keep the answer for others."""

    no_store: bool = False
    """Neither look nor keep."""

    only_if_cached: bool = False
    """Answer from the cache or not at all."""

    max_age_s: int | None = None
    """Oldest answer that will do, in seconds; None takes any fresh one."""


NO_DIRECTIVES = Directives()
"""The caller leaves it to us."""


@lru_cache(maxsize=256)
def parse_cache_control(header: str | None) -> Directives:
    """
    Read a request's ``Cache-Control``; directives that we don't know are ignored, as the standard asks.

    Args:
        header: The header's value; several headers joined with commas; None where there is none.

    Returns:
        The directives; of several max-age the smallest.

    Raises:
        InvalidInput: If max-age isn't a whole number of seconds.
    """
    if not header:
        return NO_DIRECTIVES
    words = set()
    max_age_s: int | None = None
    for part in header.split(","):
        name, _, argument = part.strip().partition("=")
        word = name.strip().lower()
        words.add(word)
        if word == "max-age":
            seconds = _delta_seconds(argument)
            max_age_s = seconds if max_age_s is None else min(max_age_s, seconds)
    return Directives(
        no_cache="no-cache" in words,
        no_store="no-store" in words,
        only_if_cached="only-if-cached" in words,
        max_age_s=max_age_s,
    )


def _delta_seconds(argument: str) -> int:
    """Seconds in a directive's argument, which may be quoted."""
    digits = argument.strip().strip('"')
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidInput(
            "Cache-Control: max-age takes a whole number of seconds, as in max-age=60.", param="Cache-Control"
        )
    # Python refuses to convert thousands of digits; ten are more than the bound.
    significant = digits.lstrip("0")[:10] or "0"
    return min(int(significant), _MAX_AGE_LIMIT_S)


def cache_ttl_s(task: str, card_ttl_s: float | None = None) -> float:
    """
    Seconds that an answer to *task* is kept.

    Args:
        task: The model card's task.

        card_ttl_s: The card's ``default_cache_ttl_s``; 0 turns the cache off, None takes the guide's figure. For
            conversations it is held between 1 and 5 minutes.
    """
    if card_ttl_s is not None and card_ttl_s <= 0:
        return 0.0
    if task != "text-generation":
        return STABLE_TTL_S if card_ttl_s is None else card_ttl_s
    shortest, longest = CONVERSATION_TTL_S
    return longest if card_ttl_s is None else min(max(card_ttl_s, shortest), longest)


def cache_scope(task: str, owner: str, configured: Scope | None = None) -> str:
    """
    Who shares an entry, as a word for the key.

    Args:
        task: The model card's task; a generation is private unless the key's configuration says otherwise.

        owner: The name of the caller's key.

        configured: What the key's configuration says.
    """
    scope = configured or ("private" if task == "text-generation" else "shared")
    return f"private:{owner}" if scope == "private" else "shared"


def is_kept(directives: Directives, *, deterministic: bool) -> bool:
    """Whether the cache takes part at all: a sampled answer only if the caller named an age it would accept."""
    return deterministic or directives.max_age_s is not None or directives.only_if_cached


def outcome_word(from_memory: int, from_redis: int, computed: int) -> Outcome:
    """Word for ``X-Cache`` from the number of items by where they came from."""
    if computed:
        return "partial" if from_memory or from_redis else "miss"
    return "hit-redis" if from_redis else "hit-memory"
