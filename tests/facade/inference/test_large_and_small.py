"""
Callers who ask for much and callers who ask for little, at one model: the batcher with its admission, in virtual time.

The model is MiniLM on two cores: 350 texts a second in two calls at a time.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from facade.errors import Overloaded
from facade.inference.admission import Admission
from facade.inference.batcher import Batcher
from tests.facade.virtual_time import run_in_no_time

if TYPE_CHECKING:
    from collections.abc import Sequence

CALL_S, ITEM_S = 0.004, 0.0056
"""Seconds of a call, and of one of its items, while another call is under way."""

PER_S = 64 / (CALL_S + 64 * ITEM_S) * 2
"""Items a second in full calls."""


class Model:
    """The batcher before a model, and what became of its callers."""

    def __init__(self) -> None:
        self.batcher: Batcher[bytes, int] = Batcher(
            self._execute,
            max_batch_size=64,
            max_calls=2,
            weigh=len,
            admission=Admission(min_items=128, max_items=20_000, batch_items=64),
        )
        self.took_s: dict[int, list[float]] = {}
        self.refused: Counter[int] = Counter()
        self.waits_s: list[float] = []

    async def _execute(self, items: Sequence[bytes], timeout_s: float) -> list[int]:
        await asyncio.sleep(CALL_S + ITEM_S * len(items))
        return [0] * len(items)

    async def ask(self, size: int, *, time_s: float = 30.0, item: bytes = b"text") -> bool:
        """Ask for *size* items; tell whether they were answered."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self.batcher.submit([item] * size, deadline=started + time_s)
        except Overloaded as refusal:
            self.refused[size] += 1
            self.waits_s.append(refusal.retry_after_s or 0.0)
            return False
        self.took_s.setdefault(size, []).append(loop.time() - started)
        return True

    async def keep_asking(self, size: int, until_s: float) -> None:
        """Ask again as soon as there is an answer; after a refusal, a second later."""
        while asyncio.get_running_loop().time() < until_s:
            if not await self.ask(size):
                await asyncio.sleep(1)

    async def arrive(self, size: int, per_s: float, until_s: float) -> None:
        """Ask at a steady rate, whatever becomes of it."""
        tasks = []
        while asyncio.get_running_loop().time() < until_s:
            tasks.append(asyncio.create_task(self.ask(size)))
            await asyncio.sleep(1 / per_s)
        await asyncio.gather(*tasks)

    def answered(self, size: int) -> int:
        """Items of requests of that size that were answered."""
        return size * len(self.took_s.get(size, ()))


@pytest.mark.parametrize(("callers", "size"), [(16, 64), (4, 512), (2, 2048)])
def test_callers_who_index_are_all_served(callers: int, size: int) -> None:
    """Whole batches at a time, several callers: nobody is refused, and the model is never idle."""

    async def index() -> tuple[Model, float]:
        model = Model()
        await asyncio.gather(*(model.keep_asking(size, 60) for _ in range(callers)))
        return model, asyncio.get_running_loop().time()

    model, ended_s = run_in_no_time(index())

    assert not model.refused
    assert model.answered(size) / ended_s > 0.95 * PER_S


def test_one_text_is_not_kept_waiting_by_millions() -> None:
    """Beside callers who index, small requests wait for a short call, not for a full one, and indexing goes on."""

    async def both() -> Model:
        model = Model()
        indexing = [model.keep_asking(512, 30) for _ in range(4)]
        await asyncio.gather(*indexing, model.arrive(1, 50, 30))
        return model

    model = run_in_no_time(both())

    assert not model.refused
    waited_s = sorted(model.took_s[1])
    full_call_s = CALL_S + 64 * ITEM_S
    assert waited_s[int(0.99 * len(waited_s))] < full_call_s
    assert model.answered(512) + model.answered(1) > 0.8 * PER_S * 30


def test_small_requests_do_not_starve_large_ones() -> None:
    """However many small ones come, a quarter of the model is the large ones'."""

    async def flood() -> tuple[Model, float]:
        model = Model()
        flood = [model.keep_asking(1, 20) for _ in range(100)]
        await asyncio.gather(*flood, model.keep_asking(64, 20))
        return model, asyncio.get_running_loop().time()

    model, ended_s = run_in_no_time(flood())

    assert model.answered(64) / ended_s > 0.15 * PER_S
    assert model.answered(1) / ended_s > 0.5 * PER_S


def test_what_cannot_be_done_in_time_is_refused_at_once() -> None:
    """Of ten times what fits into a caller's time, some gets in and is done within it; the rest comes back later."""

    async def crowd() -> Model:
        model = Model()
        await asyncio.gather(*(model.keep_asking(64, 3) for _ in range(4)))
        await asyncio.gather(*(model.ask(512, time_s=10) for _ in range(70)))
        return model

    model = run_in_no_time(crowd())

    assert 2 <= len(model.took_s[512]) <= 20
    assert max(model.took_s[512]) < 10
    assert model.refused[512] == 70 - len(model.took_s[512])
    assert min(model.waits_s) >= 1


def test_a_patient_caller_may_wait_longer() -> None:
    """Who brings more time is taken in where others are refused."""

    async def patience() -> tuple[bool, bool]:
        model = Model()
        await asyncio.gather(*(model.keep_asking(64, 3) for _ in range(4)))
        others = [asyncio.create_task(model.ask(2048, time_s=300)) for _ in range(3)]
        await asyncio.sleep(0)
        hurried = await model.ask(1024, time_s=5)
        patient = await model.ask(1024, time_s=60)
        await asyncio.gather(*others)
        return hurried, patient

    assert run_in_no_time(patience()) == (False, True)


def test_large_requests_are_bounded_in_bytes() -> None:
    """Before anything is known of the model's pace, memory bounds what waits."""

    async def heavy() -> Model:
        model = Model()
        await asyncio.gather(*(model.ask(9, item=b"a" * 4 * 1024 * 1024, time_s=600) for _ in range(8)))
        return model

    assert run_in_no_time(heavy()).refused[9] == 5
