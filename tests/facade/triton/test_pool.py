"""Several Tritons at the wire: who is asked, who is out, who comes back, and what callers get meanwhile."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import grpc
import pytest

from facade import errors
from facade.triton.addresses import FixedAddresses
from facade.triton.client import TritonClient
from facade.triton.codec import to_bytes_tensor
from facade.triton.pool import EndpointPool
from tests.facade.triton.watcher import Watcher
from tests.facade.wire_generation import chat_model
from tests.facade.wire_triton import WireTriton, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from facade.triton.interface import Tensor

pytestmark = pytest.mark.anyio

OUTPUTS = ("embedding", "num_input_tokens")


@pytest.fixture(name="tritons")
async def _tritons() -> AsyncIterator[list[WireTriton]]:
    """Three Tritons."""
    tritons = [WireTriton() for _ in range(3)]
    for triton in tritons:
        triton.models["chat"] = chat_model()
        await triton.start()
    yield tritons
    for triton in tritons:
        triton.thawed.set()
        triton.gate.set()
        await triton.stop()


@pytest.fixture(name="watcher")
def _watcher() -> Watcher:
    """Who is told."""
    return Watcher()


@pytest.fixture(name="pool")
async def _pool(tritons: list[WireTriton], watcher: Watcher) -> AsyncIterator[EndpointPool]:
    """A pool of them that has looked once."""
    pool = make_pool(tritons, watcher)
    await pool.describe_models(timeout_s=5)
    yield pool
    await pool.aclose()


def make_pool(tritons: list[WireTriton], watcher: Watcher, *, has_hedges: bool = False) -> EndpointPool:
    """Make a pool."""
    source = FixedAddresses(tuple(triton.url for triton in tritons))
    return EndpointPool(source, TritonClient, observer=watcher, has_hedges=has_hedges)


async def infer(
    pool: EndpointPool, text: str = "a", version: str = "1", timeout_s: float = 20
) -> Mapping[str, Tensor]:
    """Call the model with a text, and see that the answer is the text's."""
    inputs = [to_bytes_tensor("text", [text.encode()])]
    outputs = await pool.infer("minilm", version, inputs, OUTPUTS, timeout_s=timeout_s)
    assert outputs["embedding"].raw == vector_of(text).tobytes()
    return outputs


async def generate(pool: EndpointPool, timeout_s: float = 20) -> list[Mapping[str, bytes]]:
    """Call the generator."""
    inputs = [to_bytes_tensor("text_input", [b"hello"]), to_bytes_tensor("sampling_parameters", [b"{}"])]
    responses = pool.stream("chat", "1", inputs, (), timeout_s=timeout_s)
    async with aclosing(responses):
        return [response async for response in responses]


async def until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(20):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_calls_go_where_fewest_are_under_way(pool: EndpointPool, tritons: list[WireTriton]) -> None:
    """Of six calls at once each of three endpoints gets two, and afterwards nothing is counted any more."""
    for triton in tritons:
        triton.gate.clear()
    calls = [asyncio.create_task(infer(pool, str(index))) for index in range(6)]
    await until(lambda: sum(len(triton.batches) for triton in tritons) == 6)

    assert [len(triton.batches) for triton in tritons] == [2, 2, 2]
    assert set(pool.in_flight().values()) == {2.0}
    for triton in tritons:
        triton.gate.set()
    await asyncio.gather(*calls)
    assert set(pool.in_flight().values()) == {0.0}


async def test_an_endpoint_that_dies_costs_nobody_an_answer(
    pool: EndpointPool, tritons: list[WireTriton], watcher: Watcher
) -> None:
    """Calls under way there are made elsewhere; it gets no more calls, and is back soon after it is."""
    tritons[0].gate.clear()
    calls = [asyncio.create_task(infer(pool, str(index))) for index in range(3)]
    await tritons[0].reached.wait()
    await tritons[0].stop()
    await asyncio.gather(*calls)
    await until(lambda: pool.up_count == 2)
    seen = len(tritons[0].batches)
    await asyncio.gather(*(infer(pool, str(index)) for index in range(12)))
    assert len(tritons[0].batches) == seen
    assert watcher.retries["unavailable", "ok"] >= 1

    tritons[0].gate.set()
    await tritons[0].start()
    await until(lambda: pool.up_count == 3)
    await until_called(pool, tritons[0])
    assert set(pool.in_flight().values()) == {0.0}


async def until_called(pool: EndpointPool, triton: WireTriton) -> None:
    """Call until an endpoint gets a call."""
    seen = len(triton.batches)
    async with asyncio.timeout(20):
        while len(triton.batches) == seen:
            await infer(pool)


async def test_a_frozen_endpoint_is_found_out_and_its_calls_answered_elsewhere(
    pool: EndpointPool, tritons: list[WireTriton], watcher: Watcher
) -> None:
    """Callers get answers well within their deadline, though the endpoint accepts and never answers."""
    tritons[0].thawed.clear()
    calls = [asyncio.create_task(infer(pool, str(index), timeout_s=8)) for index in range(3)]
    await asyncio.gather(*calls)
    await until(lambda: pool.up_count == 2)
    assert watcher.ejections[tritons[0].url, "dead"] == 1
    seen, probes = len(tritons[0].batches), tritons[0].probes
    await asyncio.gather(*(infer(pool, str(index)) for index in range(12)))
    await until(lambda: tritons[0].probes > probes)
    assert len(tritons[0].batches) == seen

    tritons[0].thawed.set()
    await until(lambda: pool.up_count == 3)
    await until_called(pool, tritons[0])


async def test_a_frozen_endpoint_is_found_without_any_call(
    pool: EndpointPool, tritons: list[WireTriton]
) -> None:
    """The catalogue's looks are enough, and the others' answers count meanwhile."""
    tritons[0].thawed.clear()

    found = await pool.describe_models(timeout_s=0.3)

    assert [model.name for model in found] == ["chat", "minilm", "minilm_core"]
    await until(lambda: pool.up_count == 2)


async def test_a_look_under_way_outlives_the_connection_that_is_renewed(
    pool: EndpointPool, tritons: list[WireTriton]
) -> None:
    """Whoever looks would take its end for its own, and never look again."""
    tritons[0].thawed.clear()
    look = asyncio.create_task(pool.describe_models(timeout_s=20))
    calls = [asyncio.create_task(infer(pool, str(index))) for index in range(6)]
    await until(lambda: pool.up_count == 2)

    assert [model.name for model in await look] == ["chat", "minilm", "minilm_core"]
    await asyncio.gather(*calls)


async def test_a_model_that_hangs_alone_is_avoided_there(
    pool: EndpointPool, tritons: list[WireTriton], watcher: Watcher
) -> None:
    """The endpoint lives, so it keeps its other models; the one that hangs is asked elsewhere."""
    tritons[0].gate.clear()
    async with asyncio.timeout(40):
        while not watcher.ejections[tritons[0].url, "model-hangs"]:
            await asyncio.gather(*(infer(pool, str(index)) for index in range(3)))
    seen = len(tritons[0].batches)
    await asyncio.gather(*(infer(pool, str(index)) for index in range(9)))

    assert pool.up_count == 3
    assert len(tritons[0].batches) <= seen + 1
    await asyncio.gather(*(generate(pool) for _ in range(6)))
    assert tritons[0].generations


async def test_what_the_caller_did_wrong_is_asked_once(
    pool: EndpointPool, tritons: list[WireTriton], watcher: Watcher
) -> None:
    """Neither a second endpoint nor an ejection comes of it."""
    for _ in range(10):
        with pytest.raises(errors.InvalidInput):
            await infer(pool, "poison")

    assert sum(len(triton.batches) for triton in tritons) == 10
    assert not watcher.retries
    assert pool.up_count == 3


@pytest.mark.parametrize(
    ("status", "details", "expected"),
    [
        (grpc.StatusCode.UNAVAILABLE, "minilm: Exceeds maximum queue size", errors.Overloaded),
        (grpc.StatusCode.UNAVAILABLE, "Request timeout expired", errors.DeadlineExceeded),
        (grpc.StatusCode.INTERNAL, "the model raised", errors.BackendFailed),
    ],
)
async def test_answers_that_are_errors_are_not_asked_for_again(
    pool: EndpointPool,
    tritons: list[WireTriton],
    status: grpc.StatusCode,
    details: str,
    expected: type[errors.FacadeError],
) -> None:
    """A full queue would only be followed by more work."""
    for triton in tritons:
        triton.failure = (status, details)

    with pytest.raises(expected):
        await infer(pool)

    assert sum(len(triton.batches) for triton in tritons) == 1


@pytest.mark.parametrize(
    ("status", "details", "reason"),
    [
        (grpc.StatusCode.INTERNAL, "Stub process 'minilm_0_0' is not healthy.", "crashed"),
        (
            grpc.StatusCode.UNAVAILABLE,
            "GRPC server is shutting down and has stopped accepting",
            "unavailable",
        ),
        (grpc.StatusCode.UNAVAILABLE, "version 1 is not at ready state", "version"),
    ],
)
async def test_what_is_one_endpoints_own_trouble_is_asked_elsewhere(
    pool: EndpointPool,
    tritons: list[WireTriton],
    watcher: Watcher,
    status: grpc.StatusCode,
    details: str,
    *,
    reason: str,
) -> None:
    """A model's process that died, a server that stops, a version that is gone there."""
    tritons[0].failure = (status, details)
    async with asyncio.timeout(20):
        while not tritons[0].batches:
            await infer(pool)

    assert watcher.retries[reason, "ok"] == 1


async def test_a_model_whose_process_died_is_avoided_there(
    pool: EndpointPool, tritons: list[WireTriton], watcher: Watcher
) -> None:
    """Triton goes on saying that it is ready, so one such answer is enough."""
    tritons[0].failure = (grpc.StatusCode.INTERNAL, "Stub process 'minilm_0_0' is not healthy.")
    await asyncio.gather(*(infer(pool, str(index)) for index in range(12)))
    seen = len(tritons[0].batches)
    await asyncio.gather(*(infer(pool, str(index)) for index in range(12)))

    assert len(tritons[0].batches) == seen
    assert watcher.ejections[tritons[0].url, "model-crashed"] == 1
    assert pool.up_count == 3


async def test_calls_go_where_the_version_is(pool: EndpointPool, tritons: list[WireTriton]) -> None:
    """In the middle of a rolling release both versions answer, each at the endpoints that have it."""
    tritons[2].models["minilm"]["versions"] = [2]
    await pool.describe_models(timeout_s=5)
    for index in range(6):
        await infer(pool, str(index), version="1")
        await infer(pool, str(index), version="2")

    assert tritons[2].versions_asked == ["2"] * 6
    assert "2" not in tritons[0].versions_asked + tritons[1].versions_asked


async def test_an_outage_of_all_is_said_at_once_and_not_multiplied(
    pool: EndpointPool, tritons: list[WireTriton], watcher: Watcher
) -> None:
    """With nobody left, each call is made once more at the most, and ends in an error that says when to come back."""
    for triton in tritons:
        await triton.stop()
    for _ in range(200):
        with pytest.raises(errors.BackendUnavailable) as caught:
            await infer(pool)
        assert caught.value.retry_after_s

    assert sum(watcher.attempts.values()) <= 200 * 1.2 + 12
    for triton in tritons:
        await triton.start()
    await until(lambda: pool.up_count == 3)
    await infer(pool)


async def test_a_generation_moves_on_before_its_first_token_and_never_after(
    pool: EndpointPool, tritons: list[WireTriton], watcher: Watcher
) -> None:
    """What a caller has seen the beginning of is not begun again."""
    for triton in tritons:
        triton.stream_failure = (0, grpc.StatusCode.UNAVAILABLE, "Socket closed")
    tritons[1].stream_failure = None
    for _ in range(4):
        assert len(await generate(pool)) == 4
    assert watcher.retries["unavailable", "ok"] >= 1

    for triton in tritons:
        triton.stream_failure = (2, grpc.StatusCode.UNAVAILABLE, "Socket closed")
    begun = sum(len(triton.generations) for triton in tritons)
    with pytest.raises(errors.BackendUnavailable):
        await generate(pool)
    assert sum(len(triton.generations) for triton in tritons) == begun + 1
    assert set(pool.in_flight().values()) == {0.0}


async def test_a_generation_that_waits_at_a_frozen_endpoint_begins_elsewhere(
    pool: EndpointPool, tritons: list[WireTriton]
) -> None:
    """Looks find the endpoint out, and that frees whoever waits there."""
    tritons[0].thawed.clear()
    answers = [asyncio.create_task(generate(pool)) for _ in range(3)]
    await pool.describe_models(timeout_s=0.3)

    assert [len(answer) for answer in await asyncio.gather(*answers)] == [4, 4, 4]
    assert set(pool.in_flight().values()) == {0.0}


async def test_a_caller_that_leaves_cancels_every_copy(pool: EndpointPool, tritons: list[WireTriton]) -> None:
    """Nothing goes on in Triton for nobody."""
    for triton in tritons:
        triton.gate.clear()
    task = asyncio.create_task(infer(pool, timeout_s=1.0))
    # Half of the time is over when a second endpoint is asked.
    await until(lambda: sum(len(triton.batches) for triton in tritons) == 2)
    task.cancel()
    await asyncio.wait({task})

    reached = [triton for triton in tritons if triton.batches]
    await asyncio.wait_for(asyncio.gather(*(triton.cancelled.wait() for triton in reached)), 10)
    await until(lambda: set(pool.in_flight().values()) == {0.0})


async def test_hedges_win_against_a_straggler(tritons: list[WireTriton], watcher: Watcher) -> None:
    """After the 95th percentile a second copy is sent; whoever answers first has answered, the other is cancelled."""
    pool = make_pool(tritons, watcher, has_hedges=True)
    await pool.describe_models(timeout_s=5)
    for index in range(40):
        await infer(pool, str(index))
    tritons[0].gate.clear()
    tritons[0].reached.clear()
    async with asyncio.timeout(20):
        while not tritons[0].reached.is_set():
            await infer(pool)

    assert watcher.retries["hedge", "ok"] >= 1
    await asyncio.wait_for(tritons[0].cancelled.wait(), 10)
    assert pool.up_count == 3
    await pool.aclose()


async def test_a_pool_never_used_closes(watcher: Watcher) -> None:
    """A façade that stops before its first call stops cleanly."""
    await EndpointPool(
        FixedAddresses(("127.0.0.1:1", "127.0.0.1:2")), TritonClient, observer=watcher
    ).aclose()
