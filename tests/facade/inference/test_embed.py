"""Texts to vectors: what embedding adds to encoding."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from facade.context import RequestContext
from facade.errors import InvalidInput
from facade.inference.catalogue import Catalogue
from facade.inference.embed import embed_texts, shorten_vector
from facade.inference.encode import Encode
from facade.triton.client import TritonClient
from tests.facade.wire_triton import DIMENSION, MAX_INPUT_TOKENS, vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


@pytest.fixture(name="encode")
async def _encode(triton: WireTriton) -> AsyncIterator[Encode]:
    """The use case below, over a Triton at the wire."""
    backend = TritonClient(triton.url)
    catalogue = Catalogue(backend, 1)
    await catalogue.refresh()
    encode = Encode(backend, catalogue)
    yield encode
    await encode.aclose()
    await backend.aclose()


def soon() -> RequestContext:
    """A request that has five seconds."""
    return RequestContext("id", deadline=asyncio.get_running_loop().time() + 5)


async def test_texts_become_vectors(encode: Encode) -> None:
    """In the order of the texts."""
    answer = await embed_texts(encode, "minilm", ["b", "a"], soon())

    assert answer.vectors == [vector_of("b").tobytes(), vector_of("a").tobytes()]
    assert (answer.version, answer.prompt_tokens) == (1, 6)


async def test_a_long_text_is_refused_and_named(encode: Encode) -> None:
    """Nothing is cut unless the caller asks."""
    with pytest.raises(InvalidInput, match="has 102 tokens; the model reads at most 16") as caught:
        await embed_texts(encode, "minilm", ["short", "word " * 100], soon())

    assert caught.value.param == "input[1]"


async def test_a_long_text_is_cut_when_asked(encode: Encode) -> None:
    """Usage then counts what the model read."""
    answer = await embed_texts(encode, "minilm", ["word " * 100], soon(), truncate=True)

    assert answer.prompt_tokens == MAX_INPUT_TOKENS


@pytest.mark.parametrize("dimensions", [0, -1, DIMENSION + 1])
async def test_impossible_dimensions_are_refused(encode: Encode, dimensions: int) -> None:
    """The bounds are named."""
    with pytest.raises(InvalidInput, match=f"between 1 and {DIMENSION}"):
        await embed_texts(encode, "minilm", ["a"], soon(), dimensions=dimensions)


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


@pytest.fixture(name="trained")
def _trained(triton: WireTriton) -> None:
    """The model was trained to be shortened to two dimensions."""
    triton.models["minilm"]["card"]["matryoshka_dimensions"] = [2]


@pytest.mark.usefixtures("trained")
async def test_only_dimensions_that_the_model_was_trained_for_are_given(encode: Encode) -> None:
    """Where its card lists them, any other length is refused; the whole vector needs no listing."""
    answer = await embed_texts(encode, "minilm", ["a"], soon(), dimensions=2)
    assert len(answer.vectors[0]) == 2 * 4
    await embed_texts(encode, "minilm", ["a"], soon(), dimensions=DIMENSION)
    with pytest.raises(InvalidInput, match=f"shortened to 2 dimensions, or to be whole .{DIMENSION}.; got"):
        await embed_texts(encode, "minilm", ["a"], soon(), dimensions=3)
