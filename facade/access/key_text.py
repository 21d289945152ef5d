"""
Read the keys file: YAML text to a `KeyRing`, or a complaint that names the key and the field.

The file::

    tiers:
      standard: {requests_per_minute: 600, tokens_per_minute: 100000, max_in_flight: 8, priority: 2, weight: 1}
    keys:
      - name: alice
        sha256: "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
        tier: standard
        models: ["minilm*"]
        networks: ["10.0.0.0/8", "2001:db8::/32"]
        expires: 2027-01-31
        scopes: [infer, metrics]
        cache: private

Everything unknown is an error: a misspelt ``expire`` must not make a key that lives for ever. Messages quote names
and fields but no other values, since somebody may have pasted a secret where its hash belongs.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar, cast

import yaml

from facade.access.keys import CACHE_SCOPES, SCOPES, CacheScope, Key, KeyRing, KeysInvalid, Scope, Tier
from facade.access.networks import Network, NetworkSet, to_network

TEXT_LIMIT_BYTES = 64 * 1024 * 1024
"""A larger file is refused before it is parsed; 100,000 keys take about 20 MB."""

NAME_PATTERN = re.compile(r"[A-Za-z0-9._@-]{1,64}")
"""What names of keys and tiers look like; they become log fields, metric labels and parts of Redis keys."""

DEPTH_LIMIT = 100
"""Nested brackets that are still given to the parser; the format needs three."""

BRACKETS = re.compile(r"[][{}]")
DEEP_BLOCK = re.compile(r"^[ ?:-]{1000}", re.MULTILINE)

SAYINGS_SHARED = 1024
"""Different lists of models, networks or scopes that are kept for the next key that has the same."""

DIGEST_PATTERN = re.compile(r"[0-9a-fA-F]{64}")

TIER_FIELDS = frozenset(field.name for field in fields(Tier)) - {"name"}
TIER_FIELD_LIMITS = {"priority": 10, "weight": 1000}
"""Largest values, where that isn't `COUNT_LIMIT`: each step of priority is worth four times the turns."""

COUNT_LIMIT = 2**53 - 1
"""Largest limit; what Lua in Redis still counts exactly."""

NULLABLE_TIER_FIELDS = frozenset({"requests_per_minute", "tokens_per_minute", "max_in_flight"})
KEY_FIELDS = frozenset({"name", "sha256", "tier", "models", "networks", "expires", "scopes", "cache"})

T = TypeVar("T")

# The C parser where PyYAML was built with it: ten times faster.
_BaseLoader: type[yaml.SafeLoader] = cast(
    "type[yaml.SafeLoader]", getattr(yaml, "CSafeLoader", yaml.SafeLoader)
)


class StrictLoader(_BaseLoader):  # type: ignore[misc, valid-type]
    """YAML's safe subset, in which a field given twice is an error and a date is still text."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[object, object]:  # noqa: FBT001, FBT002 - PyYAML's signature
        """
        Build one mapping.

        Args:
            node: As parsed.

            deep: As PyYAML defines it.

        Returns:
            The mapping.

        Raises:
            KeysInvalid: If a field is there twice; PyYAML would silently take the last.
        """
        mapping: dict[object, object] = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            line = node.start_mark.line + 1
            raise KeysInvalid(f"line {line}: a field is given twice in the mapping that starts here")
        return mapping


# Dates are read below, where an error can name the key.
StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", yaml.SafeLoader.construct_yaml_str)


def parse_keys(text: str) -> KeyRing:
    """
    Read a keys file's text.

    Args:
        text: YAML with ``tiers`` and ``keys``. Without ``keys`` nobody is let in.

    Returns:
        The ring.

    Raises:
        KeysInvalid: If anything in it is wrong or unknown.
    """
    document = load_document(text)
    tiers = {name: _to_tier(name, entry) for name, entry in _mapping(document.get("tiers"), "tiers").items()}
    entries = document.get("keys")
    if entries is not None and not isinstance(entries, list):
        raise KeysInvalid("field 'keys': must be a list")
    return KeyRing([_to_key(index, entry) for index, entry in enumerate(entries or [])], tiers)


def load_document(text: str) -> dict[str, object]:
    """
    Read the text's outermost mapping.

    Args:
        text: YAML.

    Returns:
        Values by field; only ``tiers`` and ``keys`` can be in it.

    Raises:
        KeysInvalid: If it isn't YAML, isn't a mapping, has other fields or is too large.
    """
    if len(text) > TEXT_LIMIT_BYTES:
        raise KeysInvalid(f"the file is larger than {TEXT_LIMIT_BYTES} bytes")
    _refuse_deep(text)
    try:
        document = yaml.load(text, Loader=StrictLoader)  # noqa: S506 - derived from the safe loader
    except yaml.MarkedYAMLError as error:
        # PyYAML's own message quotes the line, which might hold a secret.
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise KeysInvalid(f"{where}not valid YAML ({_one_line(error.problem)})") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise KeysInvalid(f"not valid YAML ({type(error).__name__})") from None
    mapping = _mapping(document, "the file")
    _refuse_unknown(mapping, frozenset({"tiers", "keys"}), "the file")
    return mapping


def _refuse_deep(text: str) -> None:
    """Keep from the C parser what would overflow its stack and end the whole process instead of being an error."""
    depth = 0
    for bracket in BRACKETS.finditer(text):
        depth = depth + 1 if bracket[0] in "[{" else max(0, depth - 1)
        if depth > DEPTH_LIMIT:
            break
    if depth > DEPTH_LIMIT or DEEP_BLOCK.search(text):
        raise KeysInvalid("not valid YAML (nested too deeply)")


def _one_line(problem: str | None) -> str:
    """PyYAML's complaint without the quoted token it may end with."""
    return re.sub(r"'[^']*'", "…", problem or "unreadable").split("\n", 1)[0]


def _mapping(value: object, where: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise KeysInvalid(f"{where}: must be a mapping from names")
    return cast("dict[str, object]", value)


def _refuse_unknown(mapping: Iterable[str], known: frozenset[str], where: str) -> None:
    unknown = sorted(set(mapping) - known)
    if unknown:
        raise KeysInvalid(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(sorted(known))}")


def _to_tier(name: str, entry: object) -> Tier:
    where = f"tier {name!r}"
    if not NAME_PATTERN.fullmatch(name):
        raise KeysInvalid(f"{where}: the name must be 1 to 64 letters, digits or ._@-")
    mapping = _mapping(entry, where)
    _refuse_unknown(mapping, TIER_FIELDS, where)
    limits: dict[str, int | None] = {}
    for field, value in mapping.items():
        if value is None and field in NULLABLE_TIER_FIELDS:
            continue
        # A bool is an int in Python, and "no" is a bool in YAML.
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise KeysInvalid(f"{where}, field {field!r}: must be a whole number of at least 1")
        most = TIER_FIELD_LIMITS.get(field, COUNT_LIMIT)
        if value > most:
            raise KeysInvalid(f"{where}, field {field!r}: must not be larger than {most}")
        limits[field] = value
    return Tier(name, **limits)  # type: ignore[arg-type]


def _to_key(index: int, entry: object) -> Key:
    where = f"keys[{index}]"
    if not isinstance(entry, dict):
        raise KeysInvalid(f"{where}: must be a mapping with at least name, sha256 and tier")
    mapping = _mapping(entry, where)
    name = mapping.get("name")
    if not isinstance(name, str) or not NAME_PATTERN.fullmatch(name):
        raise KeysInvalid(f"{where}, field 'name': must be text of 1 to 64 letters, digits or ._@-")
    where = f"{where} {name!r}"
    _refuse_unknown(mapping, KEY_FIELDS, where)

    def read(field: str, convert: Callable[[object], T]) -> T:
        try:
            return convert(mapping[field])
        except ValueError as error:
            raise KeysInvalid(f"{where}, field {field!r}: {error}") from None

    for required in ("sha256", "tier"):
        if required not in mapping:
            raise KeysInvalid(f"{where}, field {required!r}: is missing")
    blank = Key(name, read("sha256", _to_digest), read("tier", _to_text))
    return Key(
        name,
        blank.digest,
        blank.tier,
        models=read("models", _to_models) if "models" in mapping else blank.models,
        networks=read("networks", _to_networks) if "networks" in mapping else blank.networks,
        expires_at=read("expires", to_expiry) if "expires" in mapping else None,
        scopes=read("scopes", _to_scopes) if "scopes" in mapping else blank.scopes,
        cache=read("cache", _to_cache_scope) if "cache" in mapping else None,
    )


def _to_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be text")  # noqa: TRY004 - one error for all that is wrong in a file
    return value


def _to_texts(value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        raise ValueError("must be a list of at least one text; leave the field out for the default")
    return value


def _to_digest(value: object) -> bytes:
    if not isinstance(value, str) or not DIGEST_PATTERN.fullmatch(value):
        raise ValueError("must be the secret's SHA-256 as 64 hexadecimal digits in quotes, never the secret")
    return bytes.fromhex(value)


# Keys that say the same share one object: of 100,000 keys, few differ in more than name and hash.
@lru_cache(maxsize=SAYINGS_SHARED)
def _share_texts(texts: tuple[str, ...]) -> tuple[str, ...]:
    return texts


def _to_models(value: object) -> tuple[str, ...]:
    return _share_texts(tuple(_to_texts(value)))


def _to_networks(value: object) -> NetworkSet:
    return _share_networks(tuple(_to_texts(value)))


@lru_cache(maxsize=SAYINGS_SHARED)
def _share_networks(texts: tuple[str, ...]) -> NetworkSet:
    networks: list[Network] = []
    for position, text in enumerate(texts):
        try:
            networks.append(to_network(text))
        except ValueError as error:
            raise ValueError(f"entry {position} is not a network in CIDR notation ({error})") from None
    return NetworkSet(networks)


def _to_scopes(value: object) -> frozenset[Scope]:
    return _share_scopes(tuple(_to_texts(value)))


@lru_cache(maxsize=SAYINGS_SHARED)
def _share_scopes(scopes: tuple[str, ...]) -> frozenset[Scope]:
    for scope in scopes:
        if scope not in SCOPES:
            raise ValueError(f"knows only {', '.join(sorted(SCOPES))}")
    return cast("frozenset[Scope]", frozenset(scopes))


def _to_cache_scope(value: object) -> CacheScope:
    if value not in CACHE_SCOPES:
        raise ValueError(f"knows only {', '.join(CACHE_SCOPES)}; leave the field out for the task's default")
    return value


def to_expiry(value: object) -> datetime | None:
    """
    Read when a key ends.

    Args:
        value: ``2027-01-31`` (ends as that day begins in UTC), ``2027-01-31T12:00:00+01:00``, ``null``. Without an
            offset it is UTC.

    Returns:
        The moment with its time zone, or None for never.

    Raises:
        ValueError: If it is neither.
    """
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(_to_text(value))
    except ValueError:
        raise ValueError("must be a date such as 2027-01-31 or 2027-01-31T12:00:00Z") from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
