"""
One list of models out of what several Tritons say, which during a rolling release is not the same; pure.

Rules:

1. A model is served if one endpoint has it.
2. Its versions are those of all endpoints; a call goes to an endpoint that has the version.
3. Its card, which says what version answers callers who name none, is that of most endpoints, and between equals the
   newer one. So a release that rolls over the endpoints moves callers once, at the half, and never to a version that
   only the first of them has and that would get all the load.
4. A card whose versions nobody can serve now loses against one that somebody can.
5. An endpoint that is out keeps its vote: it is most likely back in a moment, and callers should not be moved to
   another version and back meanwhile.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facade.triton.interface import ModelDescription


class Statement(NamedTuple):
    """What one endpoint said of its models."""

    models: Sequence[ModelDescription]
    """At its last answer."""

    is_serving: bool
    """Whether it gets calls now."""


def reconcile(statements: Sequence[Statement]) -> list[ModelDescription]:
    """
    Merge what endpoints said.

    Args:
        statements: One an endpoint.

    Returns:
        One description a model that somebody serves, in the order of their names.
    """
    by_name: defaultdict[str, list[tuple[ModelDescription, bool]]] = defaultdict(list)
    for statement in statements:
        for model in statement.models:
            by_name[model.name].append((model, statement.is_serving))
    return [
        _merge(found) for _, found in sorted(by_name.items()) if any(is_serving for _, is_serving in found)
    ]


def _merge(found: Sequence[tuple[ModelDescription, bool]]) -> ModelDescription:
    """Merge what endpoints said of one model."""
    first = found[0][0]
    if all(model == first for model, _ in found):
        return first
    votes: defaultdict[ModelDescription, list[tuple[bool, tuple[int, ...]]]] = defaultdict(list)
    for model, is_serving in found:
        votes[replace(model, ready_versions=())].append((is_serving, model.ready_versions))
    chosen = max(
        votes,
        key=lambda card: (
            any(is_serving for is_serving, _ in votes[card]),
            len(votes[card]),
            max(versions for _, versions in votes[card]),
        ),
    )
    newest = Counter(max(versions) for _, versions in votes[chosen] if versions)
    served = {version for model, is_serving in found if is_serving for version in model.ready_versions}
    return replace(
        chosen,
        ready_versions=tuple(sorted(served)),
        newest_version=max(newest, key=lambda version: (newest[version], version), default=None),
    )
