"""
What a known key may do.

The order of answers, of which this module gives the last two: a network that may not call at all is refused first
(`networks`), then a missing or unknown key (`keys`), then a key that is over, then a key without the right.
"""

from datetime import UTC, datetime
from fnmatch import fnmatchcase

from facade.access.keys import Key, Scope
from facade.access.networks import Address
from facade.errors import PermissionDenied, Unauthenticated


def authorize(
    key: Key,
    scope: Scope,
    model: str | None = None,
    address: Address | None = None,
    now: datetime | None = None,
) -> None:
    """
    Refuse what the key doesn't allow.

    Args:
        key: Whose secret was presented.

        scope: What the request needs.

        model: The model it names; None if it names none.

        address: Where it came from; None if that can't be told, which a key bound to networks doesn't accept.

        now: The present moment, with a time zone; the clock's if None.

    Raises:
        Unauthenticated: If the key has expired.

        PermissionDenied: If it may not be used from there, for this scope, or for this model.
    """
    if key.expires_at is not None and (now if now is not None else datetime.now(UTC)) >= key.expires_at:
        raise Unauthenticated(f"The API key expired at {key.expires_at.isoformat()}.", code="expired_api_key")
    if key.networks and (address is None or address not in key.networks):
        raise PermissionDenied("This API key may not be used from this network.", code="network_not_allowed")
    if scope not in key.scopes:
        raise PermissionDenied(f"This API key lacks the scope '{scope}'.", code="scope_not_allowed")
    if model is not None:
        check_globs(key.models, model)


def check_globs(globs: tuple[str, ...], model: str) -> None:
    """
    Refuse a model that no glob matches.

    Args:
        globs: A key's.

        model: The name.

    Raises:
        PermissionDenied: If none matches; whether there is such a model isn't told.
    """
    if not may_use(globs, model):
        raise PermissionDenied(
            f"This API key may not use the model '{model}'.", param="model", code="model_not_allowed"
        )


def may_use(globs: tuple[str, ...], model: str) -> bool:
    """
    Match a model's name against a key's globs.

    Args:
        globs: A key's.

        model: The name, compared with case.

    Returns:
        Whether one of them matches; also right for listing only what a caller may use.
    """
    return "*" in globs or any(fnmatchcase(model, glob) for glob in globs)
