"""
Who goes next when not all can: tiers share by weight, and within a tier requests take turns; pure.

Strategy: start-time fair queueing. Each tier has a virtual time that advances by 1/weight for every item it was served;
the waiting tier with the smallest virtual time goes next. A tier that was idle resumes at the present virtual time, so
that nobody saves up turns. Within a tier there are two lanes:

1. Small requests, first come, first served. While large ones wait too, three of four items that leave are theirs.
2. Large requests, which take turns by a few items each, so that one of 2,048 doesn't stand before one of 20.

So somebody who asks for one item isn't kept waiting by those who index a million, and neither lane starves.

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
"""Items that one large request is served before the next has its turn; a request of no more is small."""

SMALL_ITEMS = 3 * TURN_ITEMS
"""Items of small requests that leave before a large one has its turn."""


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
    """What waits of one tier: entries by request, in the two lanes."""

    small: deque[deque[Entry]] = field(default_factory=deque)
    large: deque[deque[Entry]] = field(default_factory=deque)
    virtual_time: float = 0.0
    weight: float = 1.0
    served_small: int = 0
    """Items of small requests since a large one's last turn."""

    served_of_turn: int = 0
    """Items of the large request whose turn it is."""

    @property
    def is_waiting(self) -> bool:
        """Whether there is anything."""
        return bool(self.small or self.large)

    def push(self, entries: Sequence[Entry]) -> None:
        """Add one request's entries to its lane."""
        (self.small if len(entries) <= TURN_ITEMS else self.large).append(deque(entries))

    def pop(self) -> Entry:
        """Take what goes next; there must be something."""
        if self.large and (not self.small or self.served_small >= SMALL_ITEMS):
            return self._pop_large()
        self.served_small = self.served_small + 1 if self.large else 0
        request = self.small[0]
        entry = request.popleft()
        if not request:
            self.small.popleft()
        return entry

    def _pop_large(self) -> Entry:
        request = self.large[0]
        entry = request.popleft()
        self.served_of_turn += 1
        if not request or self.served_of_turn >= TURN_ITEMS:
            self.served_of_turn = self.served_small = 0
            self.large.popleft()
            if request:
                self.large.append(request)
        return entry


class FairQueue(Generic[Entry]):
    """Entries in the order in which they may leave."""

    def __init__(self) -> None:
        self._tiers: dict[str, _Tier[Entry]] = {}
        self._now = 0.0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def depths(self) -> dict[str, int]:
        """Count what waits, by lane: ``small`` and ``large``; takes time in proportion to all requests."""
        tiers = self._tiers.values()
        small = sum(len(request) for tier in tiers for request in tier.small)
        return {"small": small, "large": self._length - small}

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
        elif not tier.is_waiting:
            tier.virtual_time = max(tier.virtual_time, self._now)
        tier.weight = share.effective_weight
        tier.push(entries)
        self._length += len(entries)

    def pop(self) -> Entry:
        """
        Take the entry that goes next.

        Returns:
            The entry.

        Raises:
            IndexError: If there is none.
        """
        tier = min((t for t in self._tiers.values() if t.is_waiting), key=_virtual_time, default=None)
        if tier is None:
            raise IndexError("pop from an empty queue")
        self._now = tier.virtual_time
        tier.virtual_time += 1 / tier.weight
        self._length -= 1
        return tier.pop()

    def __iter__(self) -> Iterator[Entry]:
        for tier in self._tiers.values():
            for request in (*tier.small, *tier.large):
                yield from request

    def clear(self) -> None:
        """Forget all entries."""
        self._tiers.clear()
        self._length = 0


def _virtual_time(tier: _Tier[Entry]) -> float:
    return tier.virtual_time
