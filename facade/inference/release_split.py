"""
Which version of a model answers a caller, and what happens when the canary fails.

`choose_version` is the whole split: a caller is a point between 0 and 100, the same for as long as the canary is the
same, and gets the canary while that point is below the canary's percentage. So raising it only adds callers.

What a canary can't answer stable is asked, once, within the caller's own deadline; a canary that is clearly worse
(`canary_watch`) gets nobody any more until the release changes. Each façade process watches for itself, of its own
traffic: no state is shared, and a new process gives the canary a new chance.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol, TypeVar

from facade.errors import (
    BackendUnavailable,
    CallerError,
    DeadlineExceeded,
    InvalidInput,
    ModelNotFound,
    ServiceError,
    VersionNotReady,
)
from facade.inference.canary_watch import CanaryTest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from facade.context import RequestContext
    from facade.inference.catalogue import Release, ServedModel

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

NAMELESS_KEYS = frozenset({None, "default"})
"""Keys that stand for nobody in particular: none, and the only one of a service with a single key."""

PATIENCE_FACTOR = 2.0
"""A canary is waited for so many times as long as after which a call counts as failed; then stable is asked."""

_CANARY_FAULTS = (ServiceError, InvalidInput, ModelNotFound)
"""
What stable may do better. A refusal may be the canary's fault or the caller's: the caller's if stable refuses too.
"""


class ReleaseObserver(Protocol):
    """Who is told how versions do."""

    def observe_call(self, model: str, version: int, outcome: str, seconds: float) -> None:
        """A call to Triton ended ``ok``, ``failed`` or ``given-up`` after so many seconds."""

    def set_canary_dropped(self, model: str, version: int, *, is_dropped: bool) -> None:
        """A canary gets nobody any more; or isn't one any more, or is given a new chance."""


class SilentReleaseObserver:
    """Nobody is told."""

    def observe_call(self, model: str, version: int, outcome: str, seconds: float) -> None:
        """Forget it."""

    def set_canary_dropped(self, model: str, version: int, *, is_dropped: bool) -> None:
        """Forget it."""


@dataclass(slots=True)
class _Trial:
    """A canary being watched."""

    release: Release
    test: CanaryTest = field(default_factory=CanaryTest)
    is_dropped: bool = False


class ReleaseSplit:
    """
    Sends callers to versions.

    Args:
        observer: Told how versions do.
    """

    def __init__(self, observer: ReleaseObserver = SilentReleaseObserver()) -> None:  # noqa: B008  # it has no state
        self._observer = observer
        self._trials: dict[str, _Trial] = {}

    def choose_version(self, model: ServedModel, context: RequestContext) -> int:
        """
        Choose the version for a caller who names none.

        Args:
            model: The model.

            context: Who asks.

        Returns:
            The version.
        """
        trial = self._trial_of(model)
        if trial is None or trial.is_dropped:
            return model.version
        canary = trial.release.canary
        assert canary is not None  # noqa: S101  # there is no trial without one
        point = caller_point(caller_identity(context), model.name, canary)
        return canary if point < trial.release.canary_percent else model.version

    def canary_state(self, model: ServedModel) -> str | None:
        """
        Say how a model's canary does, as far as this process has seen.

        Args:
            model: The model.

        Returns:
            ``trial``, ``not-ready``, ``dropped-errors`` or ``dropped-latency``, by what is worse; None without one.
        """
        release = model.card.release
        if release is None or release.canary in {None, release.stable} or release.canary_percent <= 0:
            return None
        trial = self._trial_of(model)
        if trial is None:
            return "not-ready"
        return f"dropped-{trial.test.finding}" if trial.is_dropped else "trial"

    def record(self, model: str, version: int, *, ok: bool | None, seconds: float, size: int = 0) -> None:
        """
        Take note of a call to Triton.

        Args:
            model: The model's name.

            version: The version that was called.

            ok: False if the call failed for no fault of the caller's; None if it was given up, because the caller
                left or its time was over.

            seconds: How long it took; of a stream, to the first piece.

            size: Bytes that were sent: only calls of about the same size are compared.
        """
        outcome = {True: "ok", False: "failed", None: "given-up"}[ok]
        self._observer.observe_call(model, version, outcome, seconds)
        trial = self._trials.get(model)
        if trial is None or trial.is_dropped or version not in {trial.release.stable, trial.release.canary}:
            return
        is_canary = version == trial.release.canary
        trial.test.record(is_canary=is_canary, ok=ok, seconds=seconds, size=size)
        if trial.test.finding is not None:
            trial.is_dropped = True
            self._observer.set_canary_dropped(model, trial.release.canary or 0, is_dropped=True)
            log.error(
                "canary_dropped",
                extra={
                    "model": model,
                    "version": trial.release.canary,
                    "stable": trial.release.stable,
                    "worse": trial.test.finding,
                },
            )

    async def answer(
        self,
        model: ServedModel,
        context: RequestContext,
        attempt: Callable[[int, float], Awaitable[Answer]],
    ) -> tuple[int, Answer]:
        """
        Have a request answered by the version that its caller gets, or by stable if that one can't.

        Args:
            model: The model.

            context: Who asks, and until when.

            attempt: Has it answered by a version until a deadline on the loop's clock; may be called twice.

        Returns:
            The version that answered, and its answer.

        Raises:
            FacadeError: What stable ended with, if it was asked; it is no worse than without a canary.
        """
        version = self.choose_version(model, context)
        if version == model.version:
            return version, await attempt(version, context.deadline)
        try:
            deadline = self._canary_deadline(model, context)
            async with asyncio.timeout_at(deadline):
                return version, await attempt(version, deadline)
        except BackendUnavailable:
            raise  # no version answers then
        except TimeoutError:
            fault: Exception = DeadlineExceeded("The canary did not answer in time.")
        except _CANARY_FAULTS as error:
            fault = error
        log.debug("canary_failed", extra={"model": model.name, "version": version, "error": str(fault)})
        answer = await attempt(model.version, context.deadline)
        if isinstance(fault, InvalidInput | ModelNotFound):
            # A call that ends so is not counted where it is made: only now is it known whose fault it was.
            self.record(model.name, version, ok=False, seconds=0.0)
        return model.version, answer

    def _canary_deadline(self, model: ServedModel, context: RequestContext) -> float:
        """Leave enough time for stable."""
        now = asyncio.get_running_loop().time()
        patience_s = PATIENCE_FACTOR * self._trials[model.name].test.failed_after_s
        return now + min(patience_s, (context.deadline - now) / 2)

    def _trial_of(self, model: ServedModel) -> _Trial | None:
        """Find the trial of the model's present release; begin one if it is new, end one if it is over."""
        release = model.card.release
        trial = self._trials.get(model.name)
        if trial is not None and trial.release is not release and trial.release != release:
            if trial.is_dropped:
                self._observer.set_canary_dropped(model.name, trial.release.canary or 0, is_dropped=False)
            del self._trials[model.name]
            trial = None
        if release is None or release.canary is None or release.canary_percent <= 0:
            return None
        if release.canary == release.stable or not {release.stable, release.canary} <= {*model.versions}:
            return None
        if trial is None:
            trial = self._trials[model.name] = _Trial(release)
        return trial


def caller_identity(context: RequestContext) -> str:
    """
    Name the caller that a split keeps to one version.

    Args:
        context: Who asks.

    Returns:
        The key's name; the address where the key says nothing about who calls.
    """
    if context.key_name in NAMELESS_KEYS:
        return f"address {context.address}"
    return f"key {context.key_name}"


def caller_point(identity: str, model: str, canary: int) -> float:
    """
    Place a caller between 0 and 100, evenly and always at the same point.

    Args:
        identity: The caller.

        model: The model's name: the first callers of one model's canary are not those of another's.

        canary: The canary's version: nor are they those of the next canary.

    Returns:
        From 0 to less than 100.
    """
    digest = blake2b(f"{model}\0{canary}\0{identity}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64 * 100


class TimedCall:
    """One call to Triton that is under way."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._first_s: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds to the first piece, or until now."""
        return time.perf_counter() - self._started if self._first_s is None else self._first_s

    def note_first_piece(self) -> None:
        """A stream gave something; only the first time counts."""
        if self._first_s is None:
            self._first_s = time.perf_counter() - self._started


@contextmanager
def recorded(split: ReleaseSplit, model: str, version: int, size: int) -> Iterator[TimedCall]:
    """
    Take note of the call to Triton that is made within.

    Args:
        split: Who is told.

        model: The model's name.

        version: The version that is called.

        size: Bytes that are sent.

    Yields:
        The call, which a stream tells of its first piece.
    """
    call = TimedCall()
    try:
        yield call
    except (CallerError, BackendUnavailable, VersionNotReady):
        # The caller's fault, perhaps; or there was nobody to have a fault.
        raise
    except (asyncio.CancelledError, DeadlineExceeded):
        split.record(model, version, ok=None, seconds=call.seconds, size=size)
        raise
    except Exception:
        split.record(model, version, ok=False, seconds=call.seconds, size=size)
        raise
    split.record(model, version, ok=True, seconds=call.seconds, size=size)
