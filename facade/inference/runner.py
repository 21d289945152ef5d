"""
Have items answered: from the cache, or by the model, merged with those of other callers.

Shared by all tasks whose answers are one short byte string an item; what the bytes mean is the task's own matter.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol

from facade.cache.keys import ItemKeys
from facade.cache.policy import cache_scope, cache_ttl_s, parse_cache_control
from facade.inference.admission import Admission
from facade.inference.batcher import Batcher
from facade.inference.fair_queue import Share

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from facade.cache.items import ItemCache
    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel

BATCHERS_KEPT = 64
"""Model versions that are remembered while nobody asks for them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one caller may send, and what one model takes in."""

    max_inputs: int = 2048
    """Most items in one request."""

    max_item_bytes: int = 256 * 1024
    """Most bytes of one text."""

    max_image_bytes: int = 4 * 1024 * 1024
    """Most bytes of one encoded image."""

    calls_in_flight: int = 2
    """Merged calls under way for one model version, for each Triton that shares them."""

    max_queued_items: int = 20_000
    """Most items admitted and not yet answered, for one model version, however fast the model is."""


class Observer(Protocol):
    """Who is told about batches and stages."""

    def observe_batch(self, model: str, size: int, waited_s: float) -> None:
        """A call left with so many items, of which one had waited so many seconds."""

    def observe_stage(self, stage: str, seconds: float) -> None:
        """A stage took so many seconds."""


class SilentObserver:
    """Nobody is told."""

    def observe_batch(self, model: str, size: int, waited_s: float) -> None:
        """Forget it."""

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Forget it."""


def one_endpoint() -> int:
    """Say that one Triton gets all calls."""
    return 1


class Runner:
    """
    The way of one task's items.

    Args:
        make_call: Gives what runs one merged call of a model's version: items, and the seconds that are left.

        call_bytes: Gives where a merged call of a model counts as full.

        cache: Where answers are kept; None keeps none.

        limits: What one model takes in.

        observer: Told about batches.

        width: Gives how many Tritons share the calls now.
    """

    def __init__(
        self,
        make_call: Callable[
            [ServedModel, int], Callable[[Sequence[bytes], float], Awaitable[Sequence[bytes]]]
        ],
        call_bytes: Callable[[ServedModel], int],
        *,
        cache: ItemCache | None,
        limits: Limits,
        observer: Observer,
        width: Callable[[], int] = one_endpoint,
    ) -> None:
        self._width = width
        self._make_call = make_call
        self._call_bytes = call_bytes
        self._cache = cache
        self._limits = limits
        self._observer = observer
        self._batchers: dict[tuple[str, int, int], Batcher[bytes, bytes]] = {}

    def queue_depths(self) -> dict[str, int]:
        """Items that wait for a call, over all models, by lane: of ``small`` requests and of ``large`` ones."""
        found = Counter({"small": 0, "large": 0})
        for batcher in self._batchers.values():
            found.update(batcher.queue_depths())
        return found

    async def run(
        self,
        model: ServedModel,
        version: int,
        items: Sequence[bytes],
        context: RequestContext,
        *,
        deadline: float | None = None,
    ) -> Sequence[bytes]:
        """
        Answer items.

        Args:
            model: Who is to answer.

            version: Which version.

            items: At least one.

            context: Who asks, until when, and what they want of the cache; learns where the answers came from.

            deadline: Give up by then, on the loop's clock; None is the context's.

        Returns:
            One answer an item, in the items' order.

        Raises:
            FacadeError: The first error that one of the items met.
        """
        until = context.deadline if deadline is None else deadline
        if self._cache is None:
            return await self._batcher(model, version).submit(items, deadline=until, share=_share_of(context))
        started = time.perf_counter()
        wish = context.request_headers.get(b"cache-control")
        directives = parse_cache_control(None if wish is None else str(wish, "latin-1"))
        task = model.card.task
        keys = _item_keys(
            cache_scope(task, context.key_name or "", context.cache_scope), model.name, version, task
        )
        asked = [keys.key(item) for item in items]
        ttl_s = cache_ttl_s(task, model.card.default_cache_ttl_s)
        answer = self._cache.recall(asked, ttl_s=ttl_s, directives=directives)
        if answer is not None:
            self.observe_cache(time.perf_counter() - started)
        else:
            batcher = self._batcher(model, version)
            compute = _Compute(batcher, items, until, _share_of(context), self.observe_cache, started)
            answer = await self._cache.get_or_compute(
                asked, compute, ttl_s=ttl_s, directives=directives, check=compute.check
            )
            compute.stop_clock()
        context.cache = context.headers["x-cache"] = answer.outcome
        if answer.computed < len(items):
            context.headers["age"] = str(int(answer.age_s))
        return answer.values

    def observe_cache(self, seconds: float) -> None:
        """Tell how long a look into the cache took, in seconds."""
        self._observer.observe_stage("cache", seconds)

    async def aclose(self) -> None:
        """Cancel what is under way."""
        for batcher in self._batchers.values():
            await batcher.aclose()

    def _batcher(self, model: ServedModel, version: int) -> Batcher[bytes, bytes]:
        key = (model.name, version, model.max_batch_size)
        batcher = self._batchers.get(key)
        max_calls = self._limits.calls_in_flight * self._width()
        if batcher is None:
            self._drop_idle()
            in_calls = model.max_batch_size * max_calls
            batcher = self._batchers[key] = Batcher(
                self._make_call(model, version),
                max_batch_size=model.max_batch_size,
                max_calls=max_calls,
                max_batch_weight=self._call_bytes(model),
                weigh=len,
                admission=Admission(
                    min_items=in_calls,
                    max_items=max(self._limits.max_queued_items, in_calls),
                    batch_items=model.max_batch_size,
                ),
                observe_batch=partial(self._observer.observe_batch, model.name),
            )
        batcher.max_calls = max_calls
        return batcher

    def _drop_idle(self) -> None:
        """Make room for one more by forgetting the longest known of those that have nothing to do: versions retire."""
        for key, batcher in list(self._batchers.items()):
            if len(self._batchers) < BATCHERS_KEPT:
                return
            if batcher.is_idle:
                del self._batchers[key]


@dataclass(slots=True)
class _Compute:
    """Runs what the cache doesn't hold of one request."""

    batcher: Batcher[bytes, bytes]
    items: Sequence[bytes]
    deadline: float
    share: Share
    observe: Callable[[float], None]
    started: float | None
    """When the look into the cache began; None once it ended."""

    def check(self, count: int) -> None:
        """Refuse so many items at once if the model can't take them."""
        self.batcher.check(count, self.share, deadline=self.deadline)

    async def __call__(self, indexes: Sequence[int]) -> list[bytes]:
        """Run the items at some indexes."""
        self.stop_clock()
        missing = [self.items[index] for index in indexes]
        return await self.batcher.submit(missing, deadline=self.deadline, share=self.share)

    def stop_clock(self) -> None:
        """Say how long the look into the cache took, once."""
        if self.started is not None:
            self.observe(time.perf_counter() - self.started)
            self.started = None


def _share_of(context: RequestContext) -> Share:
    return Share(context.tier, context.priority, context.weight)


@lru_cache(maxsize=1024)
def _item_keys(scope: str, model: str, version: int, task: str) -> ItemKeys:
    return ItemKeys(scope=scope, model=model, version=version, task=task, parameters={})
