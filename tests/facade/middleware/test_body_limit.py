"""A body is bounded, announced or not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from facade.settings import Settings
from tests.facade.conftest import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

LIMIT_BYTES = 2048


@pytest.fixture(name="settings")
def _settings(triton: WireTriton) -> Settings:
    """Settings with a small limit."""
    return Settings(
        triton_url=triton.url, catalogue_interval_s=0.05, body_limit_bytes=LIMIT_BYTES, api_key=SecretStr(KEY)
    )


async def chunks(size: int) -> AsyncIterator[bytes]:
    """A body whose length isn't announced."""
    for _ in range(size // 512):
        yield b"x" * 512


async def test_an_announced_body_is_refused_at_once(client: httpx.AsyncClient) -> None:
    """413 in the surface's shape, and the connection is still good."""
    answer = await client.post("/v1/embeddings", content=b"x" * (LIMIT_BYTES + 1))

    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "body_too_large"
    assert (await client.get("/health/live")).status_code == 200


async def test_a_streamed_body_is_refused_while_it_arrives(client: httpx.AsyncClient) -> None:
    """Without a Content-Length the bytes are counted."""
    answer = await client.post("/predict", content=chunks(4 * LIMIT_BYTES))

    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_body_at_the_limit_is_read(client: httpx.AsyncClient) -> None:
    """The bound itself is allowed."""
    answer = await client.post("/v1/embeddings", content=b" " * LIMIT_BYTES)

    assert answer.status_code == 400
