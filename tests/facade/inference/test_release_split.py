"""Which version a caller gets, who answers when the canary can't, and when it gets nobody any more."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from facade.context import RequestContext
from facade.errors import (
    BackendFailed,
    BackendUnavailable,
    DeadlineExceeded,
    InvalidInput,
    NotCached,
    Overloaded,
)
from facade.inference.catalogue import ModelCard, Release, ServedModel
from facade.inference.release_split import ReleaseSplit, caller_point, recorded

pytestmark = pytest.mark.anyio


class Told:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, str]] = []
        self.dropped: dict[tuple[str, int], bool] = {}

    def observe_call(self, model: str, version: int, outcome: str, seconds: float) -> None:
        """Keep it."""
        self.calls.append((model, version, outcome))

    def set_canary_dropped(self, model: str, version: int, *, is_dropped: bool) -> None:
        """Keep it."""
        self.dropped[model, version] = is_dropped


def served(release: Release | None, versions: tuple[int, ...] = (1, 2)) -> ServedModel:
    """Make a model with a release."""
    return ServedModel("m", versions, 8, ModelCard(task="embedding", release=release))


def caller(name: str | None = "somebody", seconds: float = 5.0) -> RequestContext:
    """Make a request of a key."""
    context = RequestContext("id", key_name=name)
    context.deadline = asyncio.get_running_loop().time() + seconds
    return context


ALL = Release(1, 2, 100)
"""Everybody gets the canary."""


@pytest.mark.parametrize(
    ("release", "versions"),
    [
        (None, (1,)),
        (Release(1), (1,)),
        (Release(1, 2, 0), (1, 2)),
        (Release(1, 2, 100), (1,)),
        (Release(1, 1, 100), (1,)),
    ],
)
async def test_without_a_canary_stable_answers(release: Release | None, versions: tuple[int, ...]) -> None:
    """Also while the canary isn't loaded yet, has no share, or is stable itself."""
    assert ReleaseSplit().choose_version(served(release, versions), caller()) == 1


def test_a_canarys_state_is_told() -> None:
    """None without one; not ready, on trial, and dropped with what is worse."""
    split = ReleaseSplit()
    assert split.canary_state(served(None)) is None
    assert split.canary_state(served(Release(1, 2, 0))) is None
    assert split.canary_state(served(ALL, (1,))) == "not-ready"
    assert split.canary_state(served(ALL)) == "trial"

    for _ in range(100):
        split.record("m", 1, ok=True, seconds=0.01)
        split.record("m", 2, ok=False, seconds=0.01)
    assert split.canary_state(served(ALL)) == "dropped-errors"


async def test_raising_the_share_only_adds_callers() -> None:
    """Who got the canary keeps it; at 100 % all do, and the share is about what was asked for."""
    before: set[str] = set()
    for percent in (1, 10, 50, 100):
        split = ReleaseSplit()
        names = (f"key-{number}" for number in range(2000))
        got = {
            name for name in names if split.choose_version(served(Release(1, 2, percent)), caller(name)) == 2
        }
        assert before <= got
        assert abs(len(got) / 20 - percent) < 2.5
        before = got


async def test_the_first_callers_are_others_each_time() -> None:
    """Another model's canary, or the next one, begins with other callers."""
    points = {caller_point("key a", model, canary) for model in "mn" for canary in (2, 3)}
    assert len(points) == 4
    assert caller_point("key a", "m", 2) == caller_point("key a", "m", 2)


@pytest.mark.parametrize("name", [None, "default"])
async def test_a_key_that_names_nobody_is_split_by_address(name: str | None) -> None:
    """With a single key for all, callers are told apart by where they are."""
    versions = set()
    split = ReleaseSplit()
    for number in range(64):
        context = caller(name)
        context.address = f"10.0.0.{number}"  # type: ignore[assignment]  # only its text matters
        versions.add(split.choose_version(served(Release(1, 2, 50)), context))
    assert versions == {1, 2}


@pytest.mark.parametrize(
    "fault", [BackendFailed("x"), Overloaded("x"), DeadlineExceeded("x"), InvalidInput("x")]
)
async def test_what_the_canary_can_not_answer_stable_is_asked(fault: Exception) -> None:
    """The caller gets stable's answer, whatever the canary said."""
    asked = []

    async def attempt(version: int, deadline: float) -> str:
        asked.append(version)
        if version == 2:
            raise fault
        return "fine"

    assert await ReleaseSplit().answer(served(ALL), caller(), attempt) == (1, "fine")
    assert asked == [2, 1]


@pytest.mark.parametrize("fault", [BackendUnavailable("x"), NotCached("x")])
async def test_what_stable_could_not_do_better_is_raised_at_once(fault: Exception) -> None:
    """A Triton that is away is asked once, and so is a cache."""
    asked = []

    async def attempt(version: int, deadline: float) -> str:
        asked.append(version)
        raise fault

    with pytest.raises(type(fault)):
        await ReleaseSplit().answer(served(ALL), caller(), attempt)
    assert asked == [2]


async def test_a_caller_s_own_fault_is_stable_s_answer_too_and_counts_for_nothing() -> None:
    """What both refuse the caller got wrong; what only the canary refuses is its failure."""
    told = Told()
    split = ReleaseSplit(told)
    stable_refuses = True

    async def attempt(version: int, deadline: float) -> str:
        if version == 2 or stable_refuses:
            raise InvalidInput(f"version {version} says so")
        return "fine"

    with pytest.raises(InvalidInput, match="version 1 says so"):
        await split.answer(served(ALL), caller(), attempt)
    assert told.calls == []
    stable_refuses = False
    await split.answer(served(ALL), caller(), attempt)
    assert told.calls == [("m", 2, "failed")]


async def test_a_canary_that_hangs_leaves_time_for_stable() -> None:
    """It is given up half-way to the deadline at the latest."""

    async def attempt(version: int, deadline: float) -> str:
        if version == 2:
            await asyncio.Event().wait()
        return "fine"

    context = caller(seconds=0.2)
    assert await ReleaseSplit().answer(served(ALL), context, attempt) == (1, "fine")
    assert asyncio.get_running_loop().time() < context.deadline


async def test_a_caller_who_leaves_is_not_sent_to_stable() -> None:
    """Cancelling the request ends it; that isn't the canary's failure."""
    asked = []

    async def attempt(version: int, deadline: float) -> str:
        asked.append(version)
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(ReleaseSplit().answer(served(ALL), caller(), attempt))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked == [2]


async def test_a_canary_that_fails_gets_nobody_until_the_release_changes() -> None:
    """It is dropped, said once, and given a new chance by the next release."""
    told = Told()
    split = ReleaseSplit(told)
    model = served(ALL)

    def call(version: int, *, fails: bool) -> None:
        split.record("m", version, ok=not fails, seconds=0.01, size=10)

    assert split.choose_version(model, caller()) == 2
    for _ in range(30):
        call(2, fails=True)
        call(1, fails=False)
    assert split.choose_version(model, caller()) == 1
    assert told.dropped == {("m", 2): True}
    assert split.choose_version(served(Release(1, 2, 100)), caller()) == 1
    assert split.choose_version(served(Release(1, 2, 50.5)), caller("x")) in {1, 2}
    assert told.dropped == {("m", 2): False}


async def test_calls_are_told_by_how_they_end() -> None:
    """Answered, failed, given up; a caller's fault and a Triton that is away are nobody's."""
    told = Told()
    split = ReleaseSplit(told)

    def call(error: BaseException | None) -> None:
        with suppress(BaseException), recorded(split, "m", 1, 10) as timed:
            timed.note_first_piece()
            if error is not None:
                raise error

    errors: tuple[Any, ...] = (
        None,
        BackendFailed("x"),
        asyncio.CancelledError(),
        InvalidInput("x"),
        BackendUnavailable("x"),
    )
    for error in errors:
        call(error)
    assert [outcome for _, _, outcome in told.calls] == ["ok", "failed", "given-up"]
