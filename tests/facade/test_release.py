"""A canary over HTTP: who gets it, what its failures cost callers (nothing), and when it gets nobody any more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from tests.facade.wire_triton import WireTriton, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

pytestmark = pytest.mark.anyio


class CanaryTriton(WireTriton):
    """Serves versions 1 and 2, of which everybody gets 2; it fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.canary_failure: tuple[grpc.StatusCode, str] | None = None
        self.models["minilm"]["versions"] = [1, 2]
        self.set_release(stable=1, canary=2, canary_percent=100)

    def set_release(self, **release: int) -> None:
        """Change the card's release."""
        card = self.models["minilm"]["card"]
        self.models["minilm"]["card"] = {**card, "release": release}

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Fail as version 2."""
        if request.model_version == "2" and self.canary_failure is not None:
            await context.abort(*self.canary_failure)
        return await super().ModelInfer(request, context)


@pytest.fixture(name="triton")
async def _triton() -> AsyncIterator[CanaryTriton]:
    """A Triton at the wire with a canary."""
    triton = CanaryTriton()
    await triton.start()
    yield triton
    await triton.stop()


async def embed(client: httpx.AsyncClient, text: str) -> httpx.Response:
    """Ask for one vector."""
    return await client.post("/v1/embeddings", json={"model": "minilm", "input": text})


async def dropped(client: httpx.AsyncClient) -> str:
    """Read the metric of the dropped canary."""
    lines = (await client.get("/metrics")).text.splitlines()
    return next((line for line in lines if line.startswith("facade_canary_dropped{")), "")


async def until_version(client: httpx.AsyncClient, version: str) -> None:
    """Wait until a version answers."""
    async with asyncio.timeout(10):
        number = 0
        while (await embed(client, f"until {version} {number}")).headers["x-model-version"] != version:
            number += 1


async def test_answers_say_which_version_they_are_of(client: httpx.AsyncClient, triton: CanaryTriton) -> None:
    """The canary's callers get the canary, and each version's calls are counted."""
    assert (await embed(client, "one")).headers["x-model-version"] == "2"
    triton.set_release(stable=1)
    await until_version(client, "1")
    metrics = (await client.get("/metrics")).text
    for version in "12":
        assert f'facade_model_calls_total{{model="minilm",outcome="ok",version="{version}"}}' in metrics


@pytest.mark.parametrize(
    "failure",
    [
        (grpc.StatusCode.INTERNAL, "broken"),
        (grpc.StatusCode.INVALID_ARGUMENT, "I don't like it"),
        (grpc.StatusCode.UNAVAILABLE, "version 2 is not at ready state"),
    ],
)
async def test_a_failing_canary_costs_nobody_an_answer(
    client: httpx.AsyncClient, triton: CanaryTriton, failure: tuple[grpc.StatusCode, str]
) -> None:
    """Stable answers in its place, and the answer says so; what comes after is answered as well."""
    triton.canary_failure = failure
    for number in range(5):
        answer = await embed(client, f"text {number}")
        assert answer.status_code == 200
        assert answer.headers["x-model-version"] == "1"
        assert answer.json()["data"][0]["embedding"] == pytest.approx(vector_of(f"text {number}").tolist())


async def test_a_canary_that_keeps_failing_gets_nobody_until_the_release_changes(
    client: httpx.AsyncClient, triton: CanaryTriton
) -> None:
    """After some twenty calls it is asked no more, and a metric says so; the next release is tried anew."""
    triton.canary_failure = (grpc.StatusCode.INTERNAL, "broken")
    assert await dropped(client) == ""
    for number in range(40):
        assert (await embed(client, f"text {number}")).status_code == 200
    assert await dropped(client) == 'facade_canary_dropped{model="minilm",version="2"} 1.0'
    asked = triton.versions_asked.copy()
    triton.canary_failure = None
    assert (await embed(client, "later")).headers["x-model-version"] == "1"
    assert triton.versions_asked[len(asked) :] == ["1"]
    triton.set_release(stable=1, canary=2, canary_percent=99)
    async with asyncio.timeout(10):
        number = 0
        while (await dropped(client)) != 'facade_canary_dropped{model="minilm",version="2"} 0.0':
            number += 1
            await embed(client, f"anew {number}")


async def test_what_both_versions_refuse_is_the_callers_fault(
    client: httpx.AsyncClient, triton: CanaryTriton
) -> None:
    """It is 400 as ever, and drops no canary however often it comes."""
    for number in range(40):
        assert (await embed(client, f"poison {number}")).status_code == 400
    assert (await embed(client, "fine")).headers["x-model-version"] == "2"
    assert await dropped(client) == ""
