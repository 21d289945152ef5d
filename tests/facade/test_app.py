"""What holds from the first connection on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from facade.app import build_app
from tests.facade.conftest import KEY
from tests.facade.serving import serving

if TYPE_CHECKING:
    from facade.settings import Settings
    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio


async def test_the_first_request_is_answered(settings: Settings) -> None:
    """A worker that joins others on their port refuses nobody because it doesn't know the models yet."""
    async with (
        serving(build_app(settings)) as base_url,
        httpx.AsyncClient(base_url=base_url, headers={"X-API-Key": KEY}) as client,
    ):
        answer = await client.post("/v1/embeddings", json={"model": "minilm", "input": "a"})

    assert answer.status_code == 200


async def test_without_triton_it_starts_and_says_so(settings: Settings, triton: WireTriton) -> None:
    """A Triton that comes later is no reason not to start."""
    await triton.stop()
    async with serving(build_app(settings)) as base_url, httpx.AsyncClient(base_url=base_url) as client:
        answer = await client.get("/health/ready")

    assert (answer.status_code, answer.json()["reason"]) == (503, "Triton does not answer.")
