"""``/v1/models`` lists what answers now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import httpx

pytestmark = pytest.mark.anyio


async def test_models_are_listed_with_their_cards(client: httpx.AsyncClient) -> None:
    """Only models with a card, each in OpenAI's shape."""
    body = (await client.get("/v1/models")).json()

    assert body["object"] == "list"
    (model,) = body["data"]
    assert (model["id"], model["object"], model["owned_by"]) == ("minilm", "model", "triton-facade")
    assert (model["task"], model["dimension"], model["max_input_tokens"]) == ("embedding", 8, 16)
    assert (model["version"], model["versions"]) == (1, [1])


async def test_one_model_is_described(client: httpx.AsyncClient) -> None:
    """The same object under its own address."""
    assert (await client.get("/v1/models/minilm")).json()["id"] == "minilm"


async def test_an_unknown_model_is_404(client: httpx.AsyncClient) -> None:
    """In OpenAI's shape."""
    answer = await client.get("/v1/models/minilm_core")

    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "model_not_found"
