"""Canaries that generate: stable writes what they can't begin, and what fails half-way is told to the watch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from facade.context import RequestContext
from facade.errors import BackendFailed
from facade.inference.catalogue import Catalogue
from facade.inference.generate import Generate
from facade.inference.generation import Sampling
from facade.inference.release_split import ReleaseSplit
from facade.triton.client import TritonClient
from tests.facade.wire_generation import CHAT_CARD, chat_model
from tests.facade.wire_triton import WireTriton

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

CARD = {**CHAT_CARD, "release": {"stable": 1, "canary": 2, "canary_percent": 100}}


class CanaryTriton(WireTriton):
    """A generator whose version 2, which everybody gets, fails or stalls after so many pieces."""

    def __init__(self) -> None:
        super().__init__()
        self.models["chat"] = chat_model(CARD, versions=(1, 2))
        self.fails_after: int | None = None
        self.stalls = asyncio.Event()
        self.stalls.set()

    async def _generate(self, request: Any, context: Any) -> Any:
        at = 0
        async for message in super()._generate(request, context):
            if request.model_version == "2":
                await self.stalls.wait()
                if at == self.fails_after:
                    await context.abort(grpc.StatusCode.INTERNAL, "broken")
            at += 1
            yield message


class Outcomes:
    """Keeps how calls ended."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, str]] = []

    def observe_call(self, model: str, version: int, outcome: str, seconds: float) -> None:
        """Keep it."""
        self.calls.append((version, outcome))

    def set_canary_dropped(self, model: str, version: int, *, is_dropped: bool) -> None:
        """Forget it."""


@pytest.fixture(name="triton")
async def _triton() -> AsyncIterator[CanaryTriton]:
    """A Triton at the wire with a canary."""
    triton = CanaryTriton()
    await triton.start()
    yield triton
    await triton.stop()


@pytest.fixture(name="outcomes")
def _outcomes() -> Outcomes:
    """What the calls came to."""
    return Outcomes()


@pytest.fixture(name="generate")
async def _generate(triton: CanaryTriton, outcomes: Outcomes) -> AsyncIterator[Generate]:
    """The use case, without a cache."""
    client = TritonClient(triton.url)
    catalogue = Catalogue(client, 1.0)
    await catalogue.refresh()
    generate = Generate(client, catalogue, split=ReleaseSplit(outcomes))
    yield generate
    await generate.aclose()
    await client.aclose()


def a_request(seconds: float = 10.0) -> RequestContext:
    """A caller's request."""
    return RequestContext("test", key_name="anna", deadline=asyncio.get_running_loop().time() + seconds)


async def write(generate: Generate, context: RequestContext, version: int | None = None) -> str:
    """Have an answer written, and read it to its end."""
    generation = await generate.start("chat", "a", Sampling(temperature=0.0), context, version=version)
    return "".join([piece.text async for piece in generation])


async def until_told(outcomes: Outcomes, *expected: tuple[int, str]) -> None:
    """Wait until all calls are told of: a stream's own end comes after its last piece."""
    async with asyncio.timeout(5):
        while len(outcomes.calls) < len(expected):
            await asyncio.sleep(0.001)
    assert outcomes.calls == list(expected)


async def test_the_canary_writes_for_its_callers(generate: Generate, outcomes: Outcomes) -> None:
    """A caller who names a version gets that one, whoever is on trial."""
    context = a_request()
    assert await write(generate, context) == "Hello, world!"
    assert context.headers["x-model-version"] == "2"
    await write(generate, pinned := a_request(), version=1)
    assert pinned.headers["x-model-version"] == "1"
    await until_told(outcomes, (2, "ok"), (1, "ok"))


async def test_what_the_canary_can_not_begin_stable_writes(
    triton: CanaryTriton, generate: Generate, outcomes: Outcomes
) -> None:
    """Nothing of the failure reaches the caller, who pays for one answer."""
    triton.fails_after = 0
    context = a_request()
    assert await write(generate, context) == "Hello, world!"
    assert (context.version, context.headers["x-model-version"], context.tokens) == (1, "1", 1 + 4)
    await until_told(outcomes, (2, "failed"), (1, "ok"))


async def test_what_the_canary_breaks_off_is_not_begun_anew(
    triton: CanaryTriton, generate: Generate, outcomes: Outcomes
) -> None:
    """The caller has read a part of it; the watch hears of it."""
    triton.fails_after = 2
    with pytest.raises(BackendFailed):
        await write(generate, a_request())
    await until_told(outcomes, (2, "failed"))


async def test_a_canary_that_does_not_begin_in_time_is_stopped(
    triton: CanaryTriton, generate: Generate
) -> None:
    """Stable is asked half-way to the deadline, and the canary writes for nobody."""
    triton.stalls.clear()
    assert await write(generate, a_request(seconds=1.0)) == "Hello, world!"
    async with asyncio.timeout(5):
        while generate.running:
            await asyncio.sleep(0.001)
