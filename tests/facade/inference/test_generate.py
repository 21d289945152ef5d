"""Prompts to answers over a real gRPC socket: found, shared, kept, counted, stopped."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import pytest

from facade.cache.items import ItemCache
from facade.cache.memory import MemoryTier
from facade.context import RequestContext
from facade.errors import (
    BackendFailed,
    BackendUnavailable,
    InvalidInput,
    ModelNotFound,
    NotCached,
    Overloaded,
    PermissionDenied,
    VersionNotReady,
)
from facade.inference.catalogue import Catalogue
from facade.inference.generate import Generate
from facade.inference.generation import Sampling
from facade.inference.writer import GenerationLimits
from facade.triton.client import TritonClient
from tests.facade.wire_generation import CHAT_CARD, chat_model

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from facade.inference.generation import Generation
    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

GREEDY = Sampling(temperature=0.0)


@pytest.fixture(name="generate")
async def _generate(triton: WireTriton) -> AsyncIterator[Generate]:
    """The use case, with a cache, and with room for three answers."""
    triton.models["chat"] = chat_model()
    client = TritonClient(triton.url)
    catalogue = Catalogue(client, 1.0)
    await catalogue.refresh()
    cache = ItemCache(MemoryTier(1024 * 1024))
    generate = Generate(client, catalogue, cache=cache, limits=GenerationLimits(max_generations=3))
    yield generate
    await generate.aclose()
    await cache.aclose()
    await client.aclose()


def a_request(key_name: str = "anna", **headers: str) -> RequestContext:
    """A caller's request."""
    given = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    return RequestContext("test", given, key_name=key_name)


async def read(generation: Generation) -> str:
    """Read an answer to its end."""
    return "".join([piece.text async for piece in generation])


async def leave(*contexts: RequestContext) -> None:
    """End requests, as the outermost layer does."""
    for context in contexts:
        for give_back in context.at_end:
            give_back()
    await asyncio.sleep(0)


async def until_asked(triton: WireTriton, count: int) -> None:
    """Wait until Triton has so many generations."""
    async with asyncio.timeout(5):
        while len(triton.generations) < count:
            await asyncio.sleep(0.001)


async def test_an_answer_is_counted_as_it_is_read(triton: WireTriton, generate: Generate) -> None:
    """Prompt and completion, also where the caller leaves half way."""
    context = a_request()
    generation = await generate.start("chat", "a b c", Sampling(), context)
    await anext(generation)
    assert (context.tokens, context.completion_tokens) == (4, 1)

    assert await read(generation) == ", world!"
    assert (context.tokens, context.completion_tokens) == (7, 4)
    assert (context.model, context.version, context.items) == ("chat", 1, 1)
    assert context.headers["x-model-version"] == "1"


@pytest.mark.parametrize(
    ("request_made", "param"),
    [
        (("minilm", "a", Sampling()), "model"),
        (("chat", "a\0", Sampling()), "text"),
        (("chat", "\ud800", Sampling()), "text"),
        (("chat", "a" * 300_000, Sampling()), "text"),
        (("chat", "a", Sampling(n=5)), "n"),
        (("chat", "a", Sampling(logprobs=6)), "logprobs"),
        (("chat", "a", Sampling(temperature=-1.0)), "temperature"),
    ],
)
async def test_bad_input_never_reaches_triton(
    triton: WireTriton, generate: Generate, request_made: tuple[str, str, Sampling], param: str
) -> None:
    """It is refused by the field's name before anything is queued."""
    model, prompt, sampling = request_made
    with pytest.raises(InvalidInput) as raised:
        await generate.start(model, prompt, sampling, a_request(), param="text")

    assert raised.value.param == param
    assert not triton.generations


async def test_models_and_versions_that_are_not_there(generate: Generate) -> None:
    """Or not for this caller."""
    with pytest.raises(ModelNotFound):
        await generate.start("nobody", "a", GREEDY, a_request())
    with pytest.raises(ModelNotFound, match="no version 7"):
        await generate.start("chat", "a", GREEDY, a_request(), version=7)
    context = a_request()
    context.key_models = ("mini*",)
    with pytest.raises(PermissionDenied):
        await generate.start("chat", "a", GREEDY, context)


async def test_a_model_of_the_vllm_backend_without_a_card_generates(
    triton: WireTriton, generate: Generate
) -> None:
    """It is known by its inputs."""
    triton.models["foreign"] = chat_model(card=None)
    await generate._catalogue.refresh()

    assert await read(await generate.start("foreign", "a", Sampling(), a_request())) == "Hello, world!"


async def test_several_answers_take_a_call_each_where_calls_are_good_for_one(
    triton: WireTriton, generate: Generate
) -> None:
    """With seeds of their own; where the card says so, it is one call."""
    triton.models["foreign"] = chat_model(card={**CHAT_CARD, "max_n": None})
    await generate._catalogue.refresh()
    pieces = [p async for p in await generate.start("foreign", "a", Sampling(n=3, seed=5), a_request())]
    assert sorted(sampling["seed"] for _, sampling in triton.generations) == [5, 6, 7]
    for index in range(3):
        assert "".join(piece.text for piece in pieces if piece.index == index) == "Hello, world!"

    triton.generations.clear()
    pieces = [piece async for piece in await generate.start("chat", "a", Sampling(n=3), a_request())]
    assert [sampling["n"] for _, sampling in triton.generations] == [3]
    assert "".join(piece.text for piece in pieces if piece.index == 2) == "Hello, world!"


async def test_one_of_several_calls_that_fails_ends_them_all(triton: WireTriton, generate: Generate) -> None:
    """Half of the answers is no answer, and nothing runs on."""
    triton.models["foreign"] = chat_model(card={**CHAT_CARD, "max_n": None})
    await generate._catalogue.refresh()
    triton.stream_failure = (1, grpc.StatusCode.INTERNAL, "broken")
    with pytest.raises(BackendFailed):
        await read(await generate.start("foreign", "a", Sampling(n=3), a_request()))

    async with asyncio.timeout(5):
        while triton.streams_running or generate.running:
            await asyncio.sleep(0.001)


async def test_a_version_that_vanished_is_looked_up_again(triton: WireTriton, generate: Generate) -> None:
    """A release that moves on between the look-up and the call costs no caller its answer; it is tried once."""
    triton.models["chat"] = chat_model(versions=(2,))
    context = a_request()
    assert await read(await generate.start("chat", "a", GREEDY, context)) == "Hello, world!"
    assert (context.version, context.tokens) == (2, 1 + 4)

    triton.stream_failure = (0, grpc.StatusCode.UNAVAILABLE, "version 2 is not at ready state")
    with pytest.raises(VersionNotReady):
        await generate.start("chat", "b", GREEDY, a_request())


async def test_errors_before_the_first_piece_are_raised_at_once(
    triton: WireTriton, generate: Generate
) -> None:
    """In the caller's terms."""
    text = "'text_input' has 99 tokens; the model reads at most 63"
    triton.stream_failure = (0, grpc.StatusCode.INVALID_ARGUMENT, text)
    with pytest.raises(InvalidInput, match="'messages' has 99 tokens") as raised:
        await generate.start("chat", "a", GREEDY, a_request(), param="messages")

    assert raised.value.param == "messages"


async def test_later_errors_come_after_what_was_written_and_are_not_kept(
    triton: WireTriton, generate: Generate
) -> None:
    """A broken answer is nobody else's."""
    triton.stream_failure = (2, grpc.StatusCode.INTERNAL, "broken")
    generation = await generate.start("chat", "a", GREEDY, a_request())
    assert [(await anext(generation)).text, (await anext(generation)).text] == ["Hello", ","]
    with pytest.raises(BackendFailed):
        await anext(generation)

    triton.stream_failure = None
    context = a_request()
    assert await read(await generate.start("chat", "a", GREEDY, context)) == "Hello, world!"
    assert context.cache == "miss"


async def test_what_a_request_brings_about_later_is_still_its_own_fault(
    triton: WireTriton, generate: Generate
) -> None:
    """The parameter is named, as it is before the first piece."""
    triton.stream_failure = (
        2,
        grpc.StatusCode.INVALID_ARGUMENT,
        "'structured_outputs' has a form that failed",
    )
    generation = await generate.start("chat", "a", GREEDY, a_request())
    with pytest.raises(InvalidInput, match="a form that failed") as raised:
        await read(generation)

    assert raised.value.param == "structured_outputs"


async def test_an_answer_without_an_end_is_a_failure(triton: WireTriton, generate: Generate) -> None:
    """A stream that just ends was cut off, and is not kept."""
    triton.ends_early = True
    with pytest.raises(BackendFailed):
        await read(await generate.start("chat", "a", GREEDY, a_request()))

    triton.ends_early = False
    context = a_request()
    await read(await generate.start("chat", "a", GREEDY, context))
    assert context.cache == "miss"


async def test_repeatable_answers_are_kept_and_replayed_in_their_pieces(
    triton: WireTriton, generate: Generate
) -> None:
    """Their tokens count for the caller all the same."""
    for sampling in (GREEDY, Sampling(seed=3)):
        triton.generations.clear()
        first, second = a_request(), a_request()
        await read(await generate.start("chat", "a", sampling, first))
        replayed = await generate.start("chat", "a", sampling, second)

        assert [piece.text async for piece in replayed] == triton.script
        assert (first.cache, second.cache) == ("miss", "hit-memory")
        assert second.headers["age"] == "0"
        assert second.tokens == first.tokens == 5
        assert len(triton.generations) == 1


async def test_what_could_differ_is_computed_each_time(triton: WireTriton, generate: Generate) -> None:
    """Sampled answers, other parameters, other callers' private entries."""
    for sampling, key_name in (
        (Sampling(), "anna"),
        (Sampling(), "anna"),
        (GREEDY, "anna"),
        (Sampling(temperature=0.0, max_tokens=3), "anna"),
        (GREEDY, "ben"),
    ):
        await read(await generate.start("chat", "a", sampling, a_request(key_name)))

    assert len(triton.generations) == 5


@pytest.mark.parametrize(
    ("header", "cache", "calls"),
    [
        ("no-cache", "bypass", 2),
        ("no-store", "bypass", 2),
        ("max-age=0", "miss", 2),
        ("max-age=60", "hit-memory", 1),
    ],
)
async def test_cache_control_is_honoured(
    triton: WireTriton, generate: Generate, header: str, cache: str, calls: int
) -> None:
    """As for embeddings."""
    await read(await generate.start("chat", "a", GREEDY, a_request()))
    context = a_request(cache_control=header)
    await read(await generate.start("chat", "a", GREEDY, context))

    assert (context.cache, len(triton.generations)) == (cache, calls)


async def test_only_if_cached_computes_nothing(triton: WireTriton, generate: Generate) -> None:
    """Whether the answer is of a kind that is kept or not."""
    for sampling in (GREEDY, Sampling()):
        with pytest.raises(NotCached):
            await generate.start("chat", "a", sampling, a_request(cache_control="only-if-cached"))
    assert not triton.generations


async def test_a_sampled_answer_is_kept_for_who_names_an_age(triton: WireTriton, generate: Generate) -> None:
    """The caller says that an old one will do."""
    for _ in "ab":
        await read(await generate.start("chat", "a", Sampling(), a_request(cache_control="max-age=60")))

    assert len(triton.generations) == 1


async def test_nothing_is_kept_of_what_was_purged_meanwhile(triton: WireTriton, generate: Generate) -> None:
    """Somebody may have wanted just this answer gone."""
    triton.steps = asyncio.Semaphore(1)
    generation = await generate.start("chat", "a", GREEDY, a_request())
    assert generate._cache is not None
    generate._cache.forget("chat")
    for _ in triton.script:
        triton.steps.release()
    await read(generation)
    context = a_request()
    await read(await generate.start("chat", "a", GREEDY, context))

    assert context.cache == "miss"


async def test_the_same_request_joins_the_one_under_way(triton: WireTriton, generate: Generate) -> None:
    """One execution, however many ask; each of them gets all of it, whoever leaves."""
    triton.steps = asyncio.Semaphore(2)
    leader = a_request()
    generation = await generate.start("chat", "a", GREEDY, leader)
    await anext(generation)
    followers = [a_request() for _ in range(5)]
    joined = await asyncio.gather(*(generate.start("chat", "a", GREEDY, one) for one in followers))
    await leave(leader, followers[0])
    for _ in triton.script:
        triton.steps.release()

    assert await asyncio.gather(*map(read, joined[1:])) == ["Hello, world!"] * 4
    assert len(triton.generations) == 1
    assert triton.streams_cancelled == 0
    assert [one.tokens for one in followers[1:]] == [5] * 4


async def test_the_last_one_to_leave_stops_the_model(triton: WireTriton, generate: Generate) -> None:
    """And who comes after that gets an answer of its own."""
    triton.steps = asyncio.Semaphore(1)
    contexts = [a_request() for _ in range(3)]
    for context in contexts:
        await generate.start("chat", "a", GREEDY, context)
    await leave(*contexts[:2])
    assert triton.streams_cancelled == 0
    await leave(contexts[2])

    triton.steps = None
    assert await read(await generate.start("chat", "a", GREEDY, a_request())) == "Hello, world!"
    await asyncio.wait_for(triton.cancellation.wait(), 5)
    assert len(triton.generations) == 2


async def test_a_request_cancelled_before_the_first_piece_stops_the_model(
    triton: WireTriton, generate: Generate
) -> None:
    """The deadline, or a caller that left: the task is cancelled, and the request's end gives back what it held."""
    triton.steps = asyncio.Semaphore(0)
    context = a_request()
    task = asyncio.create_task(generate.start("chat", "a", GREEDY, context))
    await until_asked(triton, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await leave(context)

    await asyncio.wait_for(triton.cancellation.wait(), 5)
    async with asyncio.timeout(5):
        while generate.running:
            await asyncio.sleep(0.001)


async def test_a_full_model_refuses_and_followers_take_no_place(
    triton: WireTriton, generate: Generate
) -> None:
    """More would only wait. An answer's place is free again when it is over."""
    triton.pause_after = 1
    started = [await generate.start("chat", prompt, GREEDY, a_request()) for prompt in "abc"]
    assert generate.running == 3
    with pytest.raises(Overloaded) as raised:
        await generate.start("chat", "d", GREEDY, a_request())
    assert raised.value.retry_after_s
    joined = await generate.start("chat", "a", GREEDY, a_request())
    triton.resume.set()
    await asyncio.gather(*map(read, [*started, joined]))

    async with asyncio.timeout(5):
        while generate.running:
            await asyncio.sleep(0.001)
    assert await read(await generate.start("chat", "d", GREEDY, a_request())) == "Hello, world!"


async def test_a_tier_keeps_a_part_of_a_full_model(triton: WireTriton, generate: Generate) -> None:
    """Who asks first and most doesn't shut out all others."""
    triton.pause_after = 1
    for prompt in "abc":
        await generate.start("chat", prompt, GREEDY, a_request())
    other = a_request("ben")
    other.tier = "gold"

    assert await generate.start("chat", "a", GREEDY, other)


async def test_closing_tells_those_who_read(triton: WireTriton, generate: Generate) -> None:
    """A façade that stops breaks answers off in words."""
    triton.steps = asyncio.Semaphore(1)
    generation = await generate.start("chat", "a", GREEDY, a_request())
    await anext(generation)
    await generate.aclose()

    with pytest.raises(BackendUnavailable):
        await anext(generation)
