"""Items to rows of numbers through the use case that all tasks but generation share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from facade.context import RequestContext
from facade.errors import BackendFailed, InvalidInput
from facade.inference.catalogue import Catalogue
from facade.inference.encode import Encode, encode_texts
from facade.inference.runner import Limits
from facade.triton.client import TritonClient
from facade.triton.interface import Tensor
from tests.facade.wire_triton import vector_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


@pytest.fixture(name="encode")
async def _encode(triton: WireTriton) -> AsyncIterator[Encode]:
    """The use case over a Triton at the wire."""
    backend = TritonClient(triton.url)
    catalogue = Catalogue(backend, 1)
    await catalogue.refresh()
    encode = Encode(backend, catalogue, limits=Limits(max_inputs=50))
    yield encode
    await encode.aclose()
    await backend.aclose()


def soon() -> RequestContext:
    """A request that has five seconds."""
    return RequestContext("id", deadline=asyncio.get_running_loop().time() + 5)


async def test_each_item_gets_its_own_answer(encode: Encode) -> None:
    """More items than one call takes come back in order, with their tokens counted."""
    texts = [f"text {i}" for i in range(40)]
    context = soon()

    encoded = await encode.answer("minilm", ("embedding",), [text.encode() for text in texts], context)

    assert [answer.values for answer in encoded.answers] == [vector_of(text).tobytes() for text in texts]
    assert encoded.prompt_tokens == context.tokens == 40 * 4
    assert (encoded.version, context.version, context.items) == (1, 1, 40)
    assert context.headers["x-model-version"] == "1"


async def test_a_release_that_moved_on_is_asked_again(encode: Encode, triton: WireTriton) -> None:
    """A version that is gone by the time of the call is resolved anew, not reported."""
    triton.models["minilm"]["versions"] = [2]
    triton.models["minilm"]["card"]["release"] = {"stable": 2}

    encoded = await encode.answer("minilm", ("embedding",), [b"a"], soon())

    assert encoded.version == 2
    assert triton.versions_asked == ["1", "2"]


async def test_a_model_for_something_else_is_refused(encode: Encode, triton: WireTriton) -> None:
    """The model exists, so this is not a 404."""
    triton.models["minilm"]["card"]["task"] = "text-classification"
    await encode._catalogue.refresh()

    with pytest.raises(InvalidInput, match="is for text-classification, not for embedding or reranking"):
        await encode.answer("minilm", ("embedding", "reranking"), [b"a"], soon())


async def test_a_model_that_breaks_the_contract_is_a_failure(encode: Encode, triton: WireTriton) -> None:
    """Too few numbers are never handed to a caller."""

    class Careless(TritonClient):
        async def infer(self, *_args: object, **_kwargs: object) -> dict[str, Tensor]:
            return {"embedding": Tensor("embedding", "FP32", (1, 2), b"\0" * 8)}

    backend = Careless(triton.url)
    careless = Encode(backend, encode._catalogue)

    with pytest.raises(BackendFailed, match="tensor contract"):
        await careless.answer("minilm", ("embedding",), [b"a"], soon())
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
