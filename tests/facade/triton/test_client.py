"""The client over a real gRPC socket: answers, every kind of error, a Triton that goes and comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from facade import errors
from facade.triton.client import TritonClient
from facade.triton.codec import to_bytes_tensor
from tests.facade.wire_triton import DIMENSION, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from facade.triton.interface import Tensor
    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

OUTPUTS = ("embedding", "num_input_tokens")


@pytest.fixture(name="backend")
async def _backend(triton: WireTriton) -> AsyncIterator[TritonClient]:
    """A client of it."""
    client = TritonClient(triton.url)
    yield client
    await client.aclose()


async def infer(
    backend: TritonClient, *texts: str, version: str = "1", timeout_s: float = 5
) -> Mapping[str, Tensor]:
    """Call the model with texts."""
    inputs = [to_bytes_tensor("text", [text.encode() for text in texts])]
    return await backend.infer("minilm", version, inputs, OUTPUTS, timeout_s=timeout_s)


async def test_a_call_brings_the_outputs(backend: TritonClient) -> None:
    """Each text's vector comes back under its own index."""
    outputs = await infer(backend, "a", "b")

    assert outputs["embedding"].shape == (2, DIMENSION)
    assert outputs["embedding"].raw == vector_of("a").tobytes() + vector_of("b").tobytes()


async def test_ready_models_are_described(backend: TritonClient) -> None:
    """Names, versions and cards come from the index and the configs."""
    described = {model.name: model for model in await backend.describe_models(timeout_s=5)}

    assert sorted(described) == ["minilm", "minilm_core"]
    assert described["minilm"].ready_versions == (1,)
    assert described["minilm_core"].model_card is None


async def test_a_triton_that_vanishes_while_it_is_asked_does_not_look_empty(
    triton: WireTriton, backend: TritonClient
) -> None:
    """Only a model's own absence leaves it out: everything else would turn 503 into 404."""
    for status, details in (
        (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"),
        (grpc.StatusCode.INTERNAL, "broken"),
    ):
        triton.config_failure = (status, details)
        with pytest.raises(errors.ServiceError):
            await backend.describe_models(timeout_s=5)

    triton.config_failure = (grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'minilm' is not found")
    assert await backend.describe_models(timeout_s=5) == []


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "minilm: Exceeds maximum queue size", errors.Overloaded),
        (grpc.StatusCode.UNAVAILABLE, "Request timeout expired", errors.DeadlineExceeded),
        (grpc.StatusCode.UNAVAILABLE, "version 1 is not at ready state", errors.VersionNotReady),
        (grpc.StatusCode.UNAVAILABLE, "This protocol is restricted, expecting header", errors.BackendFailed),
        (grpc.StatusCode.UNAVAILABLE, "GRPC server is shutting down", errors.BackendUnavailable),
        (grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape", errors.InvalidInput),
        (grpc.StatusCode.NOT_FOUND, "unknown model", errors.ModelNotFound),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "no memory", errors.Overloaded),
        (grpc.StatusCode.INTERNAL, "stub crashed", errors.BackendFailed),
        (grpc.StatusCode.UNIMPLEMENTED, "decoupled", errors.BackendFailed),
    ],
)
async def test_every_failure_has_our_own_error(
    triton: WireTriton,
    backend: TritonClient,
    status: grpc.StatusCode,
    details: str,
    expected: type[errors.FacadeError],
) -> None:
    """The few codes of gRPC are told apart by their text where they have to be."""
    triton.failure = (status, details)

    with pytest.raises(expected) as caught:
        await infer(backend, "a")

    assert type(caught.value) is expected


async def test_a_call_ends_with_its_time(triton: WireTriton, backend: TritonClient) -> None:
    """A Triton that stalls costs no more than the deadline, and its work is cancelled."""
    triton.gate.clear()

    with pytest.raises(errors.DeadlineExceeded):
        await infer(backend, "a", timeout_s=0.1)

    await asyncio.wait_for(triton.cancelled.wait(), 5)


async def test_leaving_cancels_the_call_in_triton(triton: WireTriton, backend: TritonClient) -> None:
    """Cancelling the task cancels the RPC."""
    triton.gate.clear()
    task = asyncio.create_task(infer(backend, "a"))
    await triton.reached.wait()
    task.cancel()

    await asyncio.wait_for(triton.cancelled.wait(), 5)


async def test_a_triton_that_comes_back_is_found_again(triton: WireTriton, backend: TritonClient) -> None:
    """Calls fail at once while it is away and work again soon after, on the same channel."""
    await infer(backend, "a")
    await triton.stop()
    with pytest.raises(errors.BackendUnavailable):
        await infer(backend, "a")
    await triton.start()

    async with asyncio.timeout(10):
        while True:
            try:
                outputs = await infer(backend, "a")
                break
            except errors.BackendUnavailable:
                await asyncio.sleep(0.02)

    assert outputs["embedding"].raw == vector_of("a").tobytes()


@pytest.mark.parametrize("ask", ["describe_models", "is_live"])
async def test_who_asks_while_it_is_closed_finds_nobody_there(
    triton: WireTriton, backend: TritonClient, ask: str
) -> None:
    """It is an answer, and not the end of whoever asked; who is cancelled itself still is."""
    triton.thawed.clear()
    await backend.inspect("server", timeout_s=5)
    asking = [asyncio.create_task(getattr(backend, ask)(timeout_s=20)) for _ in range(2)]
    await asyncio.sleep(0)
    asking[1].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking[1]
    await backend.aclose()

    with pytest.raises(errors.BackendUnavailable):
        await asking[0]
    triton.thawed.set()


async def test_closing_a_client_never_used_is_fine() -> None:
    """A façade that stops before its first call stops cleanly."""
    await TritonClient("127.0.0.1:1").aclose()
