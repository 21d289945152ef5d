"""
Which versions answer, as a value: what the model card's `release` says, and what each move makes of it.

Nothing here touches a file. Every move is idempotent: done twice in a row it is done once. `rollback` without a
version would be the exception (twice would go two versions back), so the release remembers which version it was
rolled back from, and a second one changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from export.errors import BadInput, ModelNotFound

WHOLE_PERCENT = 100
"""All callers."""

PREVIOUS_KEPT = 9
"""Stable versions remembered beside the one that answers; `prune` keeps fewer of them on disk."""


@dataclass(frozen=True)
class Release:
    """Which versions of one model answer."""

    stable: int
    """The version that answers."""

    canary: int | None = None
    """The version on trial."""

    canary_percent: float = 0.0
    """Share of callers that get the canary, 0 to 100."""

    previous: tuple[int, ...] = ()
    """Versions that were stable before, the latest first."""

    rolled_back_from: int | None = None
    """The version that the last move took away, if the last move was a rollback."""

    @property
    def versions(self) -> tuple[int, ...]:
        """The versions that Triton is to serve, ascending."""
        return tuple(sorted({self.stable, self.canary or self.stable}))

    def to_json(self) -> dict[str, Any]:
        """Write it as the card has it; what doesn't apply is left out."""
        percent = self.canary_percent
        written: dict[str, Any] = {"stable": self.stable}
        if self.canary is not None:
            written |= {
                "canary": self.canary,
                "canary_percent": int(percent) if percent == int(percent) else percent,
            }
        if self.previous:
            written["previous"] = list(self.previous)
        if self.rolled_back_from is not None:
            written["rolled_back_from"] = self.rolled_back_from
        return written


def read_release(card: Mapping[str, Any] | None, on_disk: Sequence[int]) -> Release | None:
    """
    Read a card's release.

    Args:
        card: The model card, or None.

        on_disk: The versions whose folders are there.

    Returns:
        The release without versions that are gone, or None if the card has none that makes sense.
    """
    found = card.get("release") if card else None
    if not isinstance(found, dict):
        return None
    stable, canary, percent = found.get("stable"), found.get("canary"), found.get("canary_percent")
    if not _is_version(stable) or not (canary is None or _is_version(canary)):
        return None
    previous = found.get("previous")
    if not isinstance(previous, list) or not all(map(_is_version, previous)):
        # Written before there were moves: then every older version was stable once.
        previous = sorted((version for version in on_disk if version < stable), reverse=True)
    rolled_back_from = found.get("rolled_back_from")
    if canary is None or not isinstance(percent, int | float) or not 0 <= percent <= WHOLE_PERCENT:
        percent = 0.0
    return Release(
        stable=stable,
        canary=canary,
        canary_percent=float(percent),
        previous=tuple(version for version in previous if version in on_disk and version != stable),
        rolled_back_from=rolled_back_from if _is_version(rolled_back_from) else None,
    )


def with_canary(release: Release, version: int, percent: float) -> Release:
    """
    Put a version on trial, in place of any other one.

    Args:
        release: What answers now.

        version: The version; it is on disk.

        percent: Share of callers that get it.

    Returns:
        The new release.

    Raises:
        BadInput: If the share is no share, or the version is stable already.
    """
    if not 0 <= percent <= WHOLE_PERCENT:  # also refuses nan
        raise BadInput(f"--percent must be from 0 to 100; got {percent:g}.")
    if version == release.stable:
        raise BadInput(f"Version {version} is stable already: it gets all callers. Name another version.")
    return replace(release, canary=version, canary_percent=percent, rolled_back_from=None)


def promoted(release: Release) -> Release:
    """
    Make the canary stable; without a canary nothing changes.

    Args:
        release: What answers now.

    Returns:
        The new release.
    """
    return release if release.canary is None else published(release, release.canary)


def published(release: Release, version: int) -> Release:
    """
    Make a version stable at once.

    Args:
        release: What answers now.

        version: The version.

    Returns:
        The new release; a trial that was under way is over.
    """
    earlier = [release.stable, *(old for old in release.previous if old not in {release.stable, version})]
    return Release(stable=version, previous=tuple(earlier[:PREVIOUS_KEPT]))


def rolled_back(release: Release, to: int | None = None) -> Release:
    """
    Take the last move back: drop the canary, or else return to the version that was stable before.

    Args:
        release: What answers now.

        to: The stable version to return to; None takes back the last move, once.

    Returns:
        The new release.

    Raises:
        ModelNotFound: If there is no such earlier version.
    """
    if to is not None and to not in {release.stable, *release.previous}:
        earlier = ", ".join(map(str, release.previous)) or "none"
        raise ModelNotFound(
            f"Version {to} was not stable before, or is gone. Earlier stable versions on disk: {earlier}. "
            "To put any other version to use, make it the canary and promote it."
        )
    if to is None and release.canary is None and release.rolled_back_from is not None:
        return release
    if release.canary is not None and to in {None, release.stable}:
        return Release(release.stable, previous=release.previous, rolled_back_from=release.canary)
    if to == release.stable:
        return release
    if to is None and not release.previous:
        raise ModelNotFound(f"No version was stable before {release.stable}; there is nothing to go back to.")
    stable = release.previous[0] if to is None else to
    others = tuple(version for version in release.previous if version != stable)
    return Release(stable, previous=others, rolled_back_from=release.stable)


def _is_version(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
