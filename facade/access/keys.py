"""
API keys: what a key may do, and how a presented secret is matched to one.

Secrets are never kept. A key is known by the SHA-256 of its secret: a secret has 256 random bits, so a plain hash
can't be searched backwards, and it can be looked up in constant time, which a salted password hash can't.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Literal, get_args

from facade.access.networks import NetworkSet

Scope = Literal["infer", "metrics", "admin"]
SCOPES: frozenset[Scope] = frozenset(get_args(Scope))

CacheScope = Literal["private", "shared"]
CACHE_SCOPES: tuple[CacheScope, ...] = get_args(CacheScope)

SECRET_LIMIT_CHARACTERS = 512
"""A longer secret is not hashed: nobody was given one."""

SINGLE_KEY_NAME = "default"
"""Name of the one key that is configured without a file; its tier is called the same."""


class KeysInvalid(Exception):
    """The keys can't be used as they are written; the message says which key and which field."""


@dataclass(frozen=True, slots=True)
class Tier:
    """What a group of keys may use up. None is no limit."""

    name: str
    """How keys refer to it."""

    requests_per_minute: int | None = None
    """Requests in any 60 s, over all replicas."""

    tokens_per_minute: int | None = None
    """Tokens in any 60 s, charged after each answer from its true counts."""

    max_in_flight: int | None = None
    """Requests that may be under way at once, over all replicas."""

    priority: int = 1
    """1 is served first when the service is full; larger numbers wait."""

    weight: int = 1
    """Share of the capacity relative to other tiers of the same priority."""

    @property
    def is_unlimited(self) -> bool:
        """Whether nothing has to be counted for it."""
        return (
            self.requests_per_minute is None and self.tokens_per_minute is None and self.max_in_flight is None
        )


@dataclass(frozen=True, slots=True)
class Key:
    """One caller."""

    name: str
    """What logs and metrics call it; letters, digits and ``._@-``."""

    digest: bytes
    """SHA-256 of the secret, 32 bytes."""

    tier: str
    """Name of its tier in the same ring."""

    models: tuple[str, ...] = ("*",)
    """Globs of the model names it may use."""

    networks: NetworkSet = NetworkSet()  # noqa: RUF009 - nothing in it ever changes
    """Where it may be used from; empty is anywhere."""

    expires_at: datetime | None = None
    """First moment at which it is no longer good, with a time zone; None is never."""

    scopes: frozenset[Scope] = frozenset({"infer"})
    """What it may be used for."""

    cache: CacheScope | None = None
    """Whether its answers are kept for itself or for all who share; None leaves that to the task."""


def to_digest(secret: str) -> bytes:
    """
    Hash a secret as it is stored.

    Args:
        secret: As the caller sent it; characters that came from undecodable bytes are kept apart.

    Returns:
        SHA-256, 32 bytes.
    """
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()


class KeyRing:
    """
    All keys and tiers of one moment; never changes, so that a request sees one state throughout.

    Args:
        keys: Names and digests must differ, tiers must exist.

        tiers: By name.

    Raises:
        KeysInvalid: If they don't fit together.
    """

    def __init__(self, keys: Iterable[Key], tiers: Mapping[str, Tier]) -> None:
        self.tiers: Mapping[str, Tier] = MappingProxyType(dict(tiers))
        by_name: dict[str, Key] = {}
        by_digest: dict[bytes, Key] = {}
        for key in keys:
            if key.name in by_name:
                raise KeysInvalid(f"key {key.name!r}: the name is used twice")
            if other := by_digest.get(key.digest):
                raise KeysInvalid(f"key {key.name!r}: has the same sha256 as key {other.name!r}")
            if key.tier not in self.tiers:
                raise KeysInvalid(f"key {key.name!r}, field 'tier': there is no tier {key.tier!r}")
            by_name[key.name] = key
            by_digest[key.digest] = key
        self.keys: Mapping[str, Key] = MappingProxyType(by_name)
        self._by_digest = by_digest

    @classmethod
    def from_secret(
        cls,
        secret: str,
        *,
        scopes: Iterable[Scope] = ("infer", "metrics"),
        tier: Tier | None = None,
    ) -> "KeyRing":
        """
        Make the ring of a service with a single key.

        Args:
            secret: What callers have to present.

            scopes: What they may do with it.

            tier: What they may use up; without limit if None.

        Returns:
            A ring whose key is called ``default``.

        Raises:
            KeysInvalid: If no caller could present *secret*: blank, beyond ASCII, or too long.
        """
        # A header's bytes beyond ASCII have no agreed encoding: such a key would work with some clients only.
        if not secret.strip() or not secret.isascii() or len(secret) > SECRET_LIMIT_CHARACTERS:
            raise KeysInvalid(
                f"the key must be 1 to {SECRET_LIMIT_CHARACTERS} ASCII characters, not all blank"
            )
        tier = tier if tier is not None else Tier(SINGLE_KEY_NAME)
        key = Key(SINGLE_KEY_NAME, to_digest(secret), tier.name, scopes=frozenset(scopes))
        return cls([key], {tier.name: tier})

    @classmethod
    def from_checked(
        cls, by_name: dict[str, Key], by_digest: dict[bytes, Key], tiers: Mapping[str, Tier]
    ) -> "KeyRing":
        """
        Make a ring of what fits together already, without another look at each key.

        Args:
            by_name: All keys.

            by_digest: The same keys.

            tiers: By name.

        Returns:
            The ring.
        """
        ring = cls((), tiers)
        ring.keys = MappingProxyType(by_name)
        ring._by_digest = by_digest  # its own class
        return ring

    def find(self, secret: str) -> Key | None:
        """
        Match a presented secret.

        The dictionary is asked for the secret's hash. What its timing could tell, how a stored hash begins, helps
        nobody: choosing secrets by their hash means inverting SHA-256. The final comparison is in constant time.

        Args:
            secret: As the caller sent it.

        Returns:
            The key, also if it has expired (`authorize` decides that), or None.
        """
        if len(secret) > SECRET_LIMIT_CHARACTERS:
            return None
        digest = to_digest(secret)
        key = self._by_digest.get(digest)
        if key is None or not hmac.compare_digest(digest, key.digest):
            return None
        return key

    def tier_of(self, key: Key) -> Tier:
        """
        Look up what a key may use up.

        Args:
            key: One of this ring.

        Returns:
            Its tier as of this ring.
        """
        return self.tiers[key.tier]

    def __len__(self) -> int:
        return len(self.keys)
