"""The way of a task's items: cache, then batcher; versions that retire are forgotten."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from facade.context import RequestContext
from facade.inference import runner
from facade.inference.catalogue import ModelCard, ServedModel
from facade.inference.runner import Limits, Runner, SilentObserver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

pytestmark = pytest.mark.anyio


def soon() -> RequestContext:
    """A request that has five seconds."""
    return RequestContext("id", deadline=asyncio.get_running_loop().time() + 5)


def model_of(max_batch_size: int = 4) -> ServedModel:
    """A model with any number of versions."""
    return ServedModel("minilm", (1,), max_batch_size, ModelCard(task="embedding"))


class Model:
    """Answers with the version and the item; a version can be held up."""

    def __init__(self) -> None:
        self.gates: dict[int, asyncio.Event] = {}
        self.batches: list[int] = []

    def make_call(
        self, _model: ServedModel, version: int
    ) -> Callable[[Sequence[bytes], float], Awaitable[Sequence[bytes]]]:
        """Give what runs a call of one version."""

        async def call(items: Sequence[bytes], _timeout_s: float) -> list[bytes]:
            self.batches.append(len(items))
            if gate := self.gates.get(version):
                await gate.wait()
            return [b"%d:%b" % (version, item) for item in items]

        return call

    def make_runner(self) -> Runner:
        """Make a runner without a cache."""
        return Runner(
            self.make_call, lambda _model: 1 << 20, cache=None, limits=Limits(), observer=SilentObserver()
        )


async def test_retired_versions_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many versions come and go, only so many are remembered, and a busy one always is."""
    monkeypatch.setattr(runner, "BATCHERS_KEPT", 3)
    model = Model()
    gate = model.gates[1] = asyncio.Event()
    running = model.make_runner()
    held_up = asyncio.create_task(running.run(model_of(), 1, [b"slow"], soon()))
    for version in range(2, 20):
        assert await running.run(model_of(), version, [b"x"], soon()) == [b"%d:x" % version]
        assert len(running._batchers) <= 3

    assert ("minilm", 1, 4) in running._batchers
    gate.set()
    assert await held_up == [b"1:slow"]
    await running.aclose()


async def test_a_changed_batch_size_holds_at_once() -> None:
    """A model that was reloaded with smaller batches gets no larger ones."""
    model = Model()
    running = model.make_runner()
    await running.run(model_of(4), 1, [b"x"] * 4, soon())
    await running.run(model_of(2), 1, [b"x"] * 4, soon())

    assert model.batches == [4, 2, 2]
    await running.aclose()
