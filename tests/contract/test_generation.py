"""What the façade relies on, tried on each kind of model; the real vLLM backend was not run here."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from facade.context import RequestContext
from facade.errors import BackendFailed, InvalidInput, ModelNotFound, VersionNotReady
from facade.inference.catalogue import Catalogue
from facade.inference.generate import Generate
from facade.inference.generation import Sampling
from facade.inference.generation_contract import read_response, to_inputs
from facade.triton.client import TritonClient
from facade.triton.interface import Tensor
from tests.contract.conftest import DECODER, MODELS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deploy.local.triton import TritonServer
    from facade.inference.generation import Generation, Piece

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

PROMPT = "Say something about a tree, an Umlaut and 🌳:"
GREEDY = Sampling(temperature=0.0, max_tokens=12, ignore_eos=True)


@pytest.fixture(name="client")
async def _client(triton: TritonServer) -> AsyncIterator[TritonClient]:
    """The façade's own connection."""
    client = TritonClient(triton.grpc_url)
    yield client
    await client.aclose()


@pytest.fixture(name="generate")
async def _generate(client: TritonClient) -> AsyncIterator[Generate]:
    """The façade's use case, without a cache: each answer is the model's own."""
    catalogue = Catalogue(client, 1.0)
    await catalogue.refresh()
    generate = Generate(client, catalogue)
    yield generate
    await generate.aclose()


@pytest.fixture(name="model", params=MODELS)
def _model(request: pytest.FixtureRequest) -> str:
    """Each kind of model."""
    name: str = request.param
    return name


def a_request() -> RequestContext:
    """A caller without wishes."""
    return RequestContext("test")


async def read(generation: Generation) -> list[Piece]:
    """Read an answer to its end."""
    return [piece async for piece in generation]


def text_of(pieces: list[Piece], index: int = 0) -> str:
    """The text of one of the answers."""
    return "".join(piece.text for piece in pieces if piece.index == index)


async def test_an_answer_comes_in_pieces_with_true_counts(generate: Generate, model: str) -> None:
    """As many tokens as were asked for, in more than one piece, none of them the prompt's."""
    # Pieces that nobody has read yet become one; so many tokens take longer than a reader's pause.
    long = Sampling(temperature=0.0, max_tokens=96, ignore_eos=True)
    generation = await generate.start(model, PROMPT, long, a_request())
    pieces = await read(generation)

    assert generation.prompt_tokens > 0
    assert generation.completion_tokens == sum(piece.num_tokens for piece in pieces) == 96
    assert len(pieces) > 1
    assert [piece.finish_reason for piece in pieces][-1] == "length"
    assert not any(piece.finish_reason for piece in pieces[:-1])
    assert text_of(pieces)
    assert not text_of(pieces).startswith(PROMPT)


async def test_temperature_0_and_seeds_repeat_themselves(generate: Generate, model: str) -> None:
    """This is why such answers may be shared."""
    sampled = Sampling(temperature=1.0, seed=7, max_tokens=12, ignore_eos=True)
    for sampling in (GREEDY, sampled):
        answers = [
            text_of(await read(await generate.start(model, PROMPT, sampling, a_request()))) for _ in "ab"
        ]
        assert answers[0] == answers[1]


async def test_several_answers_are_kept_apart(generate: Generate, model: str) -> None:
    """Each of them is whole and numbered; with a seed they differ from one another."""
    sampling = Sampling(n=3, temperature=1.0, seed=1, max_tokens=10, ignore_eos=True)
    pieces = await read(await generate.start(model, PROMPT, sampling, a_request()))

    for index in range(3):
        own = [piece for piece in pieces if piece.index == index]
        assert sum(piece.num_tokens for piece in own) == 10
        assert own[-1].finish_reason == "length"
    assert len({text_of(pieces, index) for index in range(3)}) > 1


async def test_a_stop_string_ends_the_answer_before_itself(generate: Generate, model: str) -> None:
    """Nothing of it is ever sent."""
    whole = text_of(await read(await generate.start(model, PROMPT, GREEDY, a_request())))
    stop = whole[len(whole) // 2 :][:3]
    sampling = Sampling(temperature=0.0, max_tokens=12, ignore_eos=True, stop=[stop])
    pieces = await read(await generate.start(model, PROMPT, sampling, a_request()))

    assert text_of(pieces) == whole[: whole.index(stop)]
    assert pieces[-1].finish_reason == "stop"


async def test_logprobs_come_for_each_token(generate: Generate, model: str) -> None:
    """The chosen one, and the likeliest ones, the likeliest first."""
    sampling = Sampling(temperature=0.0, max_tokens=5, ignore_eos=True, logprobs=3)
    pieces = await read(await generate.start(model, PROMPT, sampling, a_request()))

    logprobs = [logprob for piece in pieces for logprob in piece.logprobs]
    assert len(logprobs) == 5
    for logprob in logprobs:
        assert logprob.logprob <= 0
        assert 3 <= len(logprob.top) <= 4
        assert [value for _, value in logprob.top] == sorted(
            (value for _, value in logprob.top), reverse=True
        )
        # Greedy: what was chosen is the likeliest.
        assert logprob.top[0][0] == logprob.token


async def test_a_choice_is_kept_to(generate: Generate, model: str) -> None:
    """Constrained output travels as JSON in JSON."""
    sampling = Sampling(temperature=0.0, max_tokens=20, structured_outputs='{"choice": ["yes", "yes"]}')
    pieces = await read(await generate.start(model, PROMPT, sampling, a_request()))

    assert text_of(pieces).strip() == "yes"
    assert pieces[-1].finish_reason == "stop"


async def test_a_prompt_that_is_too_long_is_the_callers_fault(generate: Generate, model: str) -> None:
    """Whatever the model calls it, it is a 400 with the field's name."""
    with pytest.raises(InvalidInput) as raised:
        await generate.start(model, "word " * 3000, GREEDY, a_request(), param="messages")

    assert (raised.value.param, raised.value.code) == ("messages", "context_length_exceeded")


async def test_an_unknown_adapter_is_the_callers_fault(generate: Generate, model: str) -> None:
    """A LoRA adapter that isn't there is named."""
    sampling = Sampling(lora_name="nobody")
    with pytest.raises(InvalidInput) as raised:
        await generate.start(model, PROMPT, sampling, a_request())

    assert raised.value.param == "lora_name"


async def test_bad_sampling_parameters_are_refused_by_the_model_too(client: TritonClient, model: str) -> None:
    """Also those that the façade lets through: the model answers with an error, and goes on."""
    bad = Sampling(temperature=-1.0)
    with pytest.raises((InvalidInput, BackendFailed)):
        await stream(client, model, to_inputs(PROMPT.encode(), bad))

    assert await stream(client, model, to_inputs(PROMPT.encode(), GREEDY))


async def test_many_who_err_or_leave_do_triton_no_harm(generate: Generate, triton: TritonServer) -> None:
    """
    Thousands of streams that end with an error, or are left while the model writes.

    With a status for errors, or with cancelled calls, Triton 24.10 is gone within a few hundred or thousand of them.
    """
    chance = random.Random(0)
    room = asyncio.Semaphore(32)

    async def go(number: int) -> None:
        token = "99999999" if number % 3 == 0 else "1"
        asked = msgspec.structs.replace(GREEDY, max_tokens=8, logit_bias={token: 0.0})
        async with room:
            try:
                generation = await generate.start(DECODER, f"{number} trees", asked, a_request())
                pieces = aiter(generation)
                for _ in range(chance.randrange(1, 6)):
                    await anext(pieces, None)
                await generation.aclose()
            except InvalidInput as error:
                assert error.param == "logit_bias"
                assert number % 3 == 0
            else:
                assert number % 3

    await asyncio.gather(*map(go, range(3000)))

    assert triton.exit_code() is None
    assert "HandleCancellation called" not in triton.log_path.read_text()
    assert text_of(await read(await generate.start(DECODER, PROMPT, GREEDY, a_request())))


async def test_without_a_stream_the_prompt_comes_back(client: TritonClient, model: str) -> None:
    """The contract's own defaults: one response, the prompt before the answer; not for streams."""
    inputs = without(to_inputs(PROMPT.encode(), GREEDY), "stream", "exclude_input_in_output")
    (response,) = await stream(client, model, inputs)
    assert text_of(response.pieces).startswith(PROMPT)

    never = [Tensor("stream", "BOOL", (1,), b"\1"), Tensor("exclude_input_in_output", "BOOL", (1,), b"\0")]
    with pytest.raises((InvalidInput, BackendFailed), match="exclude_input_in_output"):
        await stream(client, model, [*inputs, *never])


async def test_unknown_models_and_versions_are_told_apart(client: TritonClient, model: str) -> None:
    """They come in band and without a status, and become the same errors as elsewhere."""
    inputs = to_inputs(PROMPT.encode(), GREEDY)
    with pytest.raises(ModelNotFound):
        await stream(client, "nobody", inputs)
    with pytest.raises(VersionNotReady):
        await stream(client, model, inputs, version="99")


async def test_one_that_leaves_stops_the_model(generate: Generate, triton: TritonServer, model: str) -> None:
    """What nobody reads isn't written on, whether it was read before or not."""
    sampling = Sampling(temperature=1.0, max_tokens=200, ignore_eos=True)
    generations = [await generate.start(model, PROMPT, sampling, a_request()) for _ in range(4)]
    await generations[0].__anext__()
    for generation in generations:
        await generation.aclose()

    async with asyncio.timeout(20), httpx.AsyncClient() as http:
        while await running(http, triton, model):
            await asyncio.sleep(0.02)
    assert generate.running == 0


async def test_many_with_half_of_them_cancelled(generate: Generate, model: str) -> None:
    """Every survivor is exact, and the server is up."""
    prompts = [f"{PROMPT} {number}" for number in range(8)]
    expected = {
        prompt: text_of(await read(await generate.start(model, prompt, GREEDY, a_request())))
        for prompt in prompts
    }
    dice = random.Random(4)

    async def one(number: int) -> None:
        prompt = prompts[number % len(prompts)]
        generation = await generate.start(model, prompt, GREEDY, a_request())
        if number % 2:
            assert text_of(await read(generation)) == expected[prompt]
            return
        for _ in range(dice.randrange(6)):
            await anext(generation, None)
        await generation.aclose()

    await asyncio.gather(*(one(number) for number in range(64)))

    survivor = await generate.start(model, prompts[0], GREEDY, a_request())
    assert text_of(await read(survivor)) == expected[prompts[0]]


async def stream(client: TritonClient, model: str, inputs: list[Tensor], version: str = "1") -> list[Any]:
    """Make one call, as it is."""
    responses = client.stream(model, version, inputs, (), timeout_s=30)
    return [read_response(outputs) async for outputs in responses]


def without(inputs: list[Tensor], *names: str) -> list[Tensor]:
    """Leave some inputs out."""
    return [tensor for tensor in inputs if tensor.name not in names]


async def running(http: httpx.AsyncClient, triton: TritonServer, model: str) -> float:
    """Read from Triton's metrics how many answers the model works on."""
    metrics = (await http.get(f"http://{triton.metrics_url}/metrics")).text
    lines = [line for line in metrics.splitlines() if line.startswith(MODELS[model])]
    assert lines, "the model has no such metric"
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if f'"{model}"' in line)
