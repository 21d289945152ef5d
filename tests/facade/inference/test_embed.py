"""Texts to vectors through the use case."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facade.context import RequestContext
from facade.errors import BackendFailed, InvalidInput
from facade.inference.catalogue import Catalogue
from facade.inference.embed import Embed, encode_texts, shorten_vector
from facade.inference.runner import Limits
from facade.triton.client import TritonClient
from facade.triton.interface import Tensor
from tests.facade.wire_triton import DIMENSION, MAX_INPUT_TOKENS, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


@pytest.fixture(name="embed")
async def _embed(triton: WireTriton) -> AsyncIterator[Embed]:
    """The use case over a Triton at the wire."""
    backend = TritonClient(triton.url)
    catalogue = Catalogue(backend, 1)
    await catalogue.refresh()
    embed = Embed(backend, catalogue, limits=Limits(max_inputs=50))
    yield embed
    await embed.aclose()
    await backend.aclose()


def soon() -> RequestContext:
    """A request that has five seconds."""
    return RequestContext("id", deadline=asyncio.get_running_loop().time() + 5)


async def test_each_text_gets_its_own_vector(embed: Embed) -> None:
    """More texts than one call takes come back in order, with their tokens counted."""
    texts = [f"text {i}" for i in range(40)]

    answer = await embed.embed_texts("minilm", texts, soon())

    assert answer.vectors == [vector_of(text).tobytes() for text in texts]
    assert answer.prompt_tokens == 40 * 4
    assert answer.version == 1


async def test_a_long_text_is_refused_and_named(embed: Embed) -> None:
    """Nothing is cut unless the caller asks."""
    with pytest.raises(InvalidInput, match="has 102 tokens; the model reads at most 16") as caught:
        await embed.embed_texts("minilm", ["short", "word " * 100], soon())

    assert caught.value.param == "input[1]"


async def test_a_long_text_is_cut_when_asked(embed: Embed) -> None:
    """Usage then counts what the model read."""
    answer = await embed.embed_texts("minilm", ["word " * 100], soon(), truncate=True)

    assert answer.prompt_tokens == MAX_INPUT_TOKENS


async def test_a_release_that_moved_on_is_asked_again(embed: Embed, triton: WireTriton) -> None:
    """A version that is gone by the time of the call is resolved anew, not reported."""
    triton.models["minilm"]["versions"] = [2]
    triton.models["minilm"]["card"]["release"] = {"stable": 2}

    answer = await embed.embed_texts("minilm", ["a"], soon())

    assert answer.version == 2
    assert triton.versions_asked == ["1", "2"]


@pytest.mark.parametrize("dimensions", [0, -1, DIMENSION + 1])
async def test_impossible_dimensions_are_refused(embed: Embed, dimensions: int) -> None:
    """The bounds are named."""
    with pytest.raises(InvalidInput, match=f"between 1 and {DIMENSION}"):
        await embed.embed_texts("minilm", ["a"], soon(), dimensions=dimensions)


async def test_a_model_for_something_else_is_refused(embed: Embed, triton: WireTriton) -> None:
    """The model exists, so this is not a 404."""
    triton.models["minilm"]["card"]["task"] = "text-classification"
    await embed._catalogue.refresh()

    with pytest.raises(InvalidInput, match="is for text-classification"):
        await embed.embed_texts("minilm", ["a"], soon())


async def test_a_model_that_breaks_the_contract_is_a_failure(embed: Embed, triton: WireTriton) -> None:
    """Too few numbers are never handed to a caller."""

    class Careless(TritonClient):
        async def infer(self, *_args: object, **_kwargs: object) -> dict[str, Tensor]:
            return {"embedding": Tensor("embedding", "FP32", (1, 2), b"\0" * 8)}

    backend = Careless(triton.url)
    embed = Embed(backend, embed._catalogue)

    with pytest.raises(BackendFailed, match="tensor contract"):
        await embed.embed_texts("minilm", ["a"], soon())
    await backend.aclose()


@pytest.mark.parametrize(
    ("texts", "reason", "param"),
    [
        ([], "must not be empty", "input"),
        (["a"] * 51, "at most 50", "input"),
        (["ok", "nul \0 here"], "NUL character at position 4", "input[1]"),
        (["\ud800"], "lone surrogate at position 0", "input"),
        (["a" * 20, "é" * 11], "has 22 bytes; one text may have 20", "input[1]"),
    ],
)
def test_texts_that_cannot_be_sent_are_named(texts: list[str], reason: str, param: str) -> None:
    """The field and the position are in the message."""
    with pytest.raises(InvalidInput, match=reason) as caught:
        encode_texts(texts, limits=Limits(max_inputs=50, max_item_bytes=20), param="input")

    assert caught.value.param == param


def test_a_shortened_vector_has_length_one() -> None:
    """The leading components are kept and scaled."""
    vector = np.array([3, 4, 12], dtype="<f4")

    shortened = np.frombuffer(shorten_vector(vector.tobytes(), 2), dtype="<f4")

    np.testing.assert_allclose(shortened, [0.6, 0.8], rtol=1e-6)


def test_a_whole_vector_is_left_alone() -> None:
    """No rounding happens where nothing is cut."""
    vector = np.array([3, 4], dtype="<f4").tobytes()

    assert shorten_vector(vector, None) is vector
    assert shorten_vector(vector, 2) is vector


def test_a_zero_vector_stays_zero() -> None:
    """There is no division by zero."""
    assert shorten_vector(bytes(12), 2) == bytes(8)
