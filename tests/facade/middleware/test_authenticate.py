"""Nobody without a key gets anywhere but to the public paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.routing import iter_route_contexts

from facade.app import build_app
from tests.facade.conftest import KEY

if TYPE_CHECKING:
    import httpx

    from facade.settings import Settings

pytestmark = pytest.mark.anyio

PUBLIC = {"/health/live", "/health/ready", "/docs", "/openapi.json", "/ui"}
REQUEST = {"model": "minilm", "input": "a"}


async def test_every_route_is_closed_without_a_key(client: httpx.AsyncClient, settings: Settings) -> None:
    """A walk over all registered routes finds only the public ones open."""
    layer = build_app(settings)
    while hasattr(layer, "_app"):
        layer = layer._app
    paths = {context.path for context in iter_route_contexts(layer.router.routes)}
    assert {"/v1/embeddings", "/predict", "/metrics", "/docs", "/health/ready"} <= paths

    for path in sorted(paths):
        for method in ("GET", "POST"):
            answer = await client.request(
                method, path.replace("{", "").replace("}", ""), headers={"X-API-Key": "wrong"}
            )
            assert (answer.status_code == 401) == (path not in PUBLIC), (
                f"{method} {path}: {answer.status_code}"
            )


@pytest.mark.parametrize(
    "path", ["/", "/nope", "/health/live/", "/health", "/HEALTH/LIVE", "//health/live", "/v2"]
)
async def test_what_is_not_listed_is_closed(client: httpx.AsyncClient, path: str) -> None:
    """Paths are public by exact name only."""
    client.headers.pop("X-API-Key")

    assert (await client.get(path)).status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-API-Key": ""},
        {"X-API-Key": "wrong"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"X-API-Key": KEY + "x"},
        {"X-API-Key": "ü".encode("latin-1")},
    ],
)
async def test_a_wrong_or_missing_key_is_401(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """In OpenAI's shape on OpenAI's surface, with the scheme to use."""
    client.headers.pop("X-API-Key")

    answer = await client.post("/v1/embeddings", json=REQUEST, headers=headers)

    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert KEY not in answer.text


async def test_the_plain_surface_has_its_own_shape(client: httpx.AsyncClient) -> None:
    """problem+json outside /v1 and /v2."""
    answer = await client.post("/predict", json={"prompt": "a"}, headers={"X-API-Key": "wrong"})

    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 401


@pytest.mark.parametrize(
    "headers", [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer {KEY}"}]
)
async def test_a_key_opens_in_either_header(client: httpx.AsyncClient, headers: dict[str, str]) -> None:
    """``X-API-Key`` and the bearer token are equal."""
    client.headers.pop("X-API-Key")

    assert (await client.post("/v1/embeddings", json=REQUEST, headers=headers)).status_code == 200
