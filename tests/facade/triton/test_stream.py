"""Streams of a decoupled model: begun, read, broken and cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from facade import errors
from facade.inference.generation import Sampling
from facade.inference.generation_contract import read_response, to_inputs
from facade.triton import stream_call
from facade.triton.client import TritonClient, to_stream_error
from tests.facade.wire_generation import chat_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


@pytest.fixture(name="backend")
async def _backend(triton: WireTriton) -> AsyncIterator[TritonClient]:
    """A client of a Triton that generates."""
    triton.models["chat"] = chat_model()
    client = TritonClient(triton.url)
    yield client
    await client.aclose()


async def read(
    backend: TritonClient, *, version: str = "1", model: str = "chat", timeout_s: float = 5
) -> list[str]:
    """Read a stream to its end."""
    inputs = to_inputs(b"a b", Sampling())
    responses = backend.stream(model, version, inputs, (), timeout_s=timeout_s)
    return [read_response(outputs).pieces[0].text async for outputs in responses]


async def test_each_message_comes_as_it_is_sent(triton: WireTriton, backend: TritonClient) -> None:
    """The first is here before the second is made; a status for errors is not asked for, since it kills Tritons."""
    triton.steps = asyncio.Semaphore(1)
    responses = backend.stream("chat", "1", to_inputs(b"a", Sampling()), (), timeout_s=5)

    first = await anext(responses)
    assert read_response(first).pieces[0].text == "Hello"
    for _ in triton.script:
        triton.steps.release()
    assert len([outputs async for outputs in responses]) == 3
    assert "triton_grpc_error" not in triton.stream_metadata[0]


@pytest.mark.parametrize("begun", [0, 2])
@pytest.mark.parametrize(
    "failure",
    [
        (grpc.StatusCode.INVALID_ARGUMENT, "'top_p' must be at most 1", errors.InvalidInput),
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size", errors.Overloaded),
        # Our decoder's, which counts in words of its own.
        (
            grpc.StatusCode.UNAVAILABLE,
            "Exceeds maximum queue size: 1056 requests are under way. Try again later.",
            errors.Overloaded,
        ),
        (grpc.StatusCode.INTERNAL, "stub crashed", errors.BackendFailed),
        (grpc.StatusCode.CANCELLED, "Request was cancelled", errors.BackendFailed),
        (None, "[INVALID_ARG] 'top_p' must be at most 1", errors.InvalidInput),
        (None, "[UNAVAILABLE] Exceeds maximum queue size: 8 wait.", errors.Overloaded),
        (None, "[UNAVAILABLE] The model is going away; ask another server.", errors.BackendUnavailable),
        (None, "[INTERNAL] The model failed.", errors.BackendFailed),
        (None, "[CANCELLED] The request was cancelled.", errors.BackendFailed),
        (None, "[ODD] What nobody knows", errors.BackendFailed),
        (None, "chat: Exceeds maximum queue size", errors.Overloaded),
        (None, "Request for unknown model: 'chat' is not found", errors.ModelNotFound),
        (None, "Request for unknown model: 'chat' version 1 is not found", errors.VersionNotReady),
        (None, "Request for unknown model: 'chat' version 1 is not at ready state", errors.VersionNotReady),
        (None, "expected 2 inputs", errors.BackendFailed),
    ],
)
async def test_every_failure_has_our_own_error(
    triton: WireTriton,
    backend: TritonClient,
    begun: int,
    failure: tuple[grpc.StatusCode | None, str, type[errors.FacadeError]],
) -> None:
    """With a status or in band, before the first message or later."""
    status, text, expected = failure
    triton.stream_failure = (begun, status, text)

    with pytest.raises(expected) as caught:
        await read(backend)

    assert type(caught.value) is expected


async def test_a_stream_ends_with_its_time(triton: WireTriton, backend: TritonClient) -> None:
    """A model that stalls costs no more than the deadline."""
    triton.steps = asyncio.Semaphore(1)

    with pytest.raises(errors.DeadlineExceeded):
        await read(backend, timeout_s=0.2)

    await asyncio.wait_for(triton.cancellation.wait(), 5)


async def test_leaving_cancels_the_stream_in_triton(triton: WireTriton, backend: TritonClient) -> None:
    """Whether the task is cancelled while it waits, or the iterator is closed."""
    triton.steps = asyncio.Semaphore(1)
    task = asyncio.create_task(read(backend))
    while not triton.generations:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(triton.cancellation.wait(), 5)

    triton.cancellation.clear()
    triton.steps.release()
    responses = backend.stream("chat", "1", to_inputs(b"a", Sampling()), (), timeout_s=5)
    await anext(responses)
    await responses.aclose()
    await asyncio.wait_for(triton.cancellation.wait(), 5)
    assert triton.streams_cancelled == 2


async def leave(triton: WireTriton, backend: TritonClient) -> None:
    """Begin a stream of a model that can be told to stop, and leave it after its first message."""
    triton.steps = asyncio.Semaphore(1)
    responses = backend.stream("chat", "1", to_inputs(b"a", Sampling()), (), timeout_s=5, can_stop=True)
    await anext(responses)
    await responses.aclose()


async def until_none_runs(triton: WireTriton) -> None:
    """Wait for the end of all streams."""
    async with asyncio.timeout(10):
        while triton.streams_running:
            await asyncio.sleep(0.001)


async def test_who_can_be_told_to_stop_is_told_and_not_cancelled(
    triton: WireTriton, backend: TritonClient
) -> None:
    """Cancelling kills older Tritons; the stream ends by itself, also when the connection is closed behind it."""
    await leave(triton, backend)
    await backend.aclose()
    await until_none_runs(triton)

    (stopped,) = triton.stops
    assert len(stopped) == 32
    assert triton.streams_cancelled == 0


async def test_whose_time_is_over_is_told_to_stop_too(triton: WireTriton, backend: TritonClient) -> None:
    """Triton's own deadline comes later."""
    triton.steps = asyncio.Semaphore(1)
    responses = backend.stream("chat", "1", to_inputs(b"a", Sampling()), (), timeout_s=0.2, can_stop=True)
    with pytest.raises(errors.DeadlineExceeded):
        _ = [outputs async for outputs in responses]
    await until_none_runs(triton)

    assert len(triton.stops) == 1
    assert triton.streams_cancelled == 0


@pytest.mark.parametrize("is_refused", [True, False], ids=["refuses", "ignores"])
async def test_who_does_not_stop_is_cancelled(
    triton: WireTriton, backend: TritonClient, monkeypatch: pytest.MonkeyPatch, *, is_refused: bool
) -> None:
    """At once where the model knows nothing of it, and after a while where it should have."""
    monkeypatch.setattr(stream_call, "STOP_GRACE_S", 60 if is_refused else 0.1)
    triton.refuses_stops, triton.heeds_stops = is_refused, False
    await leave(triton, backend)

    await until_none_runs(triton)
    assert (len(triton.stops), triton.streams_cancelled) == (1, 1)


async def test_an_error_is_waited_out(triton: WireTriton, backend: TritonClient) -> None:
    """A stream that ends with it is neither cancelled nor told to stop."""
    triton.stream_failure, triton.lingers = (1, None, "[INTERNAL] It failed."), True
    inputs = to_inputs(b"a", Sampling())
    with pytest.raises(errors.BackendFailed):
        _ = [outputs async for outputs in backend.stream("chat", "1", inputs, (), timeout_s=5, can_stop=True)]
    assert await backend.is_live(timeout_s=5)  # on the same connection, so behind a cancellation
    assert triton.streams_running == 1
    triton.resume.set()
    await until_none_runs(triton)

    assert (triton.stops, triton.streams_cancelled) == ([], 0)


async def test_a_triton_that_vanishes_breaks_the_stream(triton: WireTriton, backend: TritonClient) -> None:
    """It is a server that can't be reached, and not an answer that ended."""
    triton.steps = asyncio.Semaphore(1)
    responses = backend.stream("chat", "1", to_inputs(b"a", Sampling()), (), timeout_s=5)
    await anext(responses)
    await triton.stop()

    with pytest.raises(errors.BackendUnavailable):
        await anext(responses)


async def test_a_model_of_the_contract_is_recognised(triton: WireTriton, backend: TritonClient) -> None:
    """By what it takes, and not by its backend's name."""
    triton.models["other"] = {**chat_model(), "inputs": ["text_input"]}
    triton.models["unary"] = {**chat_model(), "decoupled": False}
    found = {model.name: model.can_generate for model in await backend.describe_models(timeout_s=5)}

    assert found == {"chat": True, "other": False, "unary": False, "minilm": False, "minilm_core": False}


def test_what_is_said_of_a_stream_is_never_taken_for_an_outage() -> None:
    """Triton answered, so it can be reached."""
    assert type(to_stream_error("anything else")) is errors.BackendFailed
