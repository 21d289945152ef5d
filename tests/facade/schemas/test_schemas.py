"""Bodies to wire models: what is wrong is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facade.errors import InvalidInput
from facade.schemas import decode, to_openapi_body
from facade.schemas.openai import EMBEDDINGS_DECODER, EmbeddingsRequest


@given(st.binary(max_size=200))
def test_any_bytes_end_in_a_model_or_in_a_refusal(body: bytes) -> None:
    """Nothing else is ever raised."""
    try:
        decode(EMBEDDINGS_DECODER, body)
    except InvalidInput as error:
        assert error.message


@given(st.text(max_size=40), st.integers(0, 39))
def test_any_mangled_json_ends_in_a_refusal_or_a_model(text: str, cut: int) -> None:
    """JSON broken off anywhere, with any text, is never a crash."""
    body = b'{"model":"m","input":"' + text.encode("utf-8", "surrogatepass") + b'"}'
    try:
        decode(EMBEDDINGS_DECODER, body[: len(body) - cut])
    except InvalidInput as error:
        assert error.message


def test_unknown_fields_are_left_alone() -> None:
    """Clients add fields of their own."""
    wanted = decode(EMBEDDINGS_DECODER, b'{"model":"m","input":"a","extra":1}')

    assert wanted == EmbeddingsRequest(model="m", input="a")


def test_a_wire_model_is_referred_to() -> None:
    """The OpenAPI document has it once, among its components."""
    body = to_openapi_body(EmbeddingsRequest)["requestBody"]

    assert body["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/EmbeddingsRequest"}


@pytest.mark.parametrize("escape", [b"\\ud800", b"\\uDFFF", b"\\ud800x", b"\\ud800\\u0041"])
def test_a_lone_surrogate_is_said_to_be_one(escape: bytes) -> None:
    """The decoder's own words for it would mislead."""
    with pytest.raises(InvalidInput, match="lone surrogate"):
        decode(EMBEDDINGS_DECODER, b'{"model":"m","input":"' + escape + b'"}')
