"""
Who goes next when not all can: tiers share by weight, and within a tier requests take turns; pure.

Strategy: start-time fair queueing. Each tier has a virtual time that advances by 1/weight for every item it was served;
the waiting tier with the smallest virtual time goes next. A tier that was idle resumes at the present virtual time, so
that nobody saves up turns. Within a tier, requests take turns by a few items each, so that a request of 2,048 items
doesn't stand before one of a single item.

Higher priority means more weight and never all of it: no tier starves.

Source:
    Goyal, Vin, Cheng 1996, Start-time Fair Queuing, SIGCOMM '96, section 2.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Entry = TypeVar("Entry")

PRIORITY_FACTOR = 4.0
"""Each step of priority is worth so many times the weight: 1 gets 80 % against one tier of priority 2."""

TURN_ITEMS = 8
"""Items that one request is served before the next of its tier has its turn."""


class Share(NamedTuple):
    """Which tier a request belongs to, and what that is worth."""

    tier: str = "default"
    """The tier's name."""

    priority: int = 1
    """1 is the highest."""

    weight: float = 1.0
    """Share among tiers of the same priority."""

    @property
    def effective_weight(self) -> float:
        """Weight with the priority counted in."""
        return max(self.weight, 1e-6) / PRIORITY_FACTOR ** (max(self.priority, 1) - 1)


@dataclass(eq=False, slots=True)
class _Tier(Generic[Entry]):
    requests: deque[deque[Entry]] = field(default_factory=deque)
    virtual_time: float = 0.0
    served_of_turn: int = 0
    weight: float = 1.0


class FairQueue(Generic[Entry]):
    """Entries in the order in which they may leave."""

    def __init__(self) -> None:
        self._tiers: dict[str, _Tier[Entry]] = {}
        self._now = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, entries: Sequence[Entry], share: Share) -> None:
        """
        Add one request's entries.

        Args:
            entries: In their own order; none is a no-op.

            share: The tier they belong to; its newest weight counts.
        """
        if not entries:
            return
        tier = self._tiers.get(share.tier)
        if tier is None:
            tier = self._tiers[share.tier] = _Tier(virtual_time=self._now)
        elif not tier.requests:
            tier.virtual_time = max(tier.virtual_time, self._now)
        tier.weight = share.effective_weight
        tier.requests.append(deque(entries))
        self._length += len(entries)

    def pop(self) -> Entry:
        """
        Take the entry that goes next.

        Returns:
            The entry.

        Raises:
            IndexError: If there is none.
        """
        tier = min((t for t in self._tiers.values() if t.requests), key=_virtual_time, default=None)
        if tier is None:
            raise IndexError("pop from an empty queue")
        self._now = tier.virtual_time
        tier.virtual_time += 1 / tier.weight
        request = tier.requests[0]
        entry = request.popleft()
        tier.served_of_turn += 1
        if not request:
            tier.requests.popleft()
            tier.served_of_turn = 0
        elif tier.served_of_turn >= TURN_ITEMS:
            tier.requests.rotate(-1)
            tier.served_of_turn = 0
        self._length -= 1
        return entry

    def __iter__(self) -> Iterator[Entry]:
        for tier in self._tiers.values():
            for request in tier.requests:
                yield from request

    def clear(self) -> None:
        """Forget all entries."""
        self._tiers.clear()
        self._length = 0


def _virtual_time(tier: _Tier[Entry]) -> float:
    return tier.virtual_time
