"""What the cache reports about itself, without knowing who listens."""

from typing import Protocol


class CacheObserver(Protocol):
    """Counters and states, as `facade.telemetry` wants them; each call must be cheap and must not raise."""

    def hit(self, tier: str, items: int) -> None:
        """Items were answered by *tier*: ``memory`` or ``redis``."""

    def miss(self, items: int) -> None:
        """Items had to be computed."""

    def bypass(self, items: int) -> None:
        """Items were computed without a look, as the caller asked."""

    def set_dropped(self, items: int, reason: str) -> None:
        """Items were not stored in Redis: ``busy`` (too many writes wait), ``refused`` or ``unavailable``."""

    def garbage(self, items: int) -> None:
        """Something that isn't ours lay under our keys in Redis."""

    def breaker_state(self, name: str, state: str) -> None:
        """The breaker of a Redis node changed to ``closed``, ``half-open`` or ``open``."""

    def latency(self, operation: str, elapsed_s: float) -> None:
        """A caller waited *elapsed_s* seconds for Redis: ``lookup`` or ``claim``."""


class SilentObserver:
    """Nobody listens."""

    def hit(self, tier: str, items: int) -> None:
        """Forget it."""

    def miss(self, items: int) -> None:
        """Forget it."""

    def bypass(self, items: int) -> None:
        """Forget it."""

    def set_dropped(self, items: int, reason: str) -> None:
        """Forget it."""

    def garbage(self, items: int) -> None:
        """Forget it."""

    def breaker_state(self, name: str, state: str) -> None:
        """Forget it."""

    def latency(self, operation: str, elapsed_s: float) -> None:
        """Forget it."""
