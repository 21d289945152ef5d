"""What the page is told of models: those that the key may use, and why one can't be asked."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import httpx
import pytest

from facade import __version__
from facade.app import build_app
from tests.facade.conftest import until_ready
from tests.facade.serving import serving
from tests.facade.test_callers import RIGHT, keys_text
from tests.facade.test_release import CanaryTriton, dropped, embed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from facade.settings import Settings

pytestmark = pytest.mark.anyio


class HalfLoadedTriton(CanaryTriton):
    """Has a canary, and models that it couldn't load."""

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Name them too, as Triton does."""
        response = await super().RepositoryIndex(request, context)
        response.models.add(name="minilm", version="3", state="UNAVAILABLE", reason="unloaded")
        response.models.add(name="broken", version="1", state="UNAVAILABLE", reason="no such file")
        response.models.add(name="idle")
        return response


@pytest.fixture(name="triton")
async def _triton() -> AsyncIterator[HalfLoadedTriton]:
    """A Triton at the wire with a canary."""
    triton = HalfLoadedTriton()
    await triton.start()
    yield triton
    await triton.stop()


async def state(client: httpx.AsyncClient) -> dict[str, Any]:
    """Ask for what the page shows; the models by name."""
    answer = await client.get("/ui/state")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return body | {"models": {model["name"]: model for model in body["models"]}}


async def test_a_model_is_told_with_its_release_and_limits(client: httpx.AsyncClient) -> None:
    """Task, versions, who gets the canary, what it takes; and what this façade is."""
    told = await state(client)

    model = told["models"]["minilm"]
    assert told["version"] == __version__
    assert told["max_image_bytes"] == 4 * 1024 * 1024
    assert (model["task"], model["version"], model["versions"]) == ("embedding", 1, [1, 2])
    assert model["canary"] == {"version": 2, "percent": 100, "state": "trial"}
    assert (model["limits"]["dimension"], model["limits"]["max_input_tokens"]) == (8, 16)
    assert model["reason"] == ""


async def test_a_model_without_a_ready_version_is_told_with_tritons_reason(client: httpx.AsyncClient) -> None:
    """Models behind other models, which are ready, aren't listed; an old version's end is nothing to tell."""
    models = (await state(client))["models"]

    reasons = {name: model["reason"] for name, model in models.items() if model["reason"]}
    assert reasons == {"broken": "no such file", "idle": "It is not loaded."}
    assert "minilm_core" not in models


async def test_a_dropped_canary_is_told(client: httpx.AsyncClient, triton: HalfLoadedTriton) -> None:
    """With what was worse."""
    triton.canary_failure = (grpc.StatusCode.INTERNAL, "broken on purpose")
    async with asyncio.timeout(20):
        number = 0
        while not (await dropped(client)).endswith(" 1.0"):
            await embed(client, f"text {number}")
            number += 1

    assert (await state(client))["models"]["minilm"]["canary"]["state"] == "dropped-errors"


async def test_a_canary_that_isnt_loaded_is_told(client: httpx.AsyncClient, triton: HalfLoadedTriton) -> None:
    """Nobody gets it."""
    triton.set_release(stable=1, canary=3, canary_percent=10)

    async with asyncio.timeout(10):
        while (canary := (await state(client))["models"]["minilm"]["canary"])["version"] != 3:
            await asyncio.sleep(0.01)
    assert canary["state"] == "not-ready"


async def test_a_triton_that_is_away_is_every_models_reason(
    client: httpx.AsyncClient, triton: HalfLoadedTriton
) -> None:
    """What it served is still listed."""
    await triton.stop()

    async with asyncio.timeout(10):
        while (models := (await state(client))["models"])["minilm"]["reason"] == "":
            await asyncio.sleep(0.01)
    assert {name: model["reason"] for name, model in models.items()} == {"minilm": "Triton does not answer."}


async def test_a_key_is_told_of_its_own_models_only(settings: Settings, tmp_path: Path) -> None:
    """Ready or not; a key without the right to models is told of none."""
    (tmp_path / "keys.yaml").write_text(keys_text())
    settings = settings.model_copy(update={"api_key": None, "keys_file": tmp_path / "keys.yaml"})
    async with serving(build_app(settings)) as base_url, httpx.AsyncClient(base_url=base_url) as client:
        await until_ready(client)
        names = {}
        for caller in ("alice", "bob"):
            client.headers["X-API-Key"] = RIGHT[caller]
            names[caller] = (await state(client))["models"].keys()
        client.headers["X-API-Key"] = RIGHT["ops"]
        refused = await client.get("/ui/state")

    assert names == {"alice": {"minilm"}, "bob": set()}
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_not_allowed")


async def test_the_page_asks_too_often_to_be_logged(
    client: httpx.AsyncClient, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    """As probes are: a line is written only when the answer isn't fine."""
    await state(client)
    await client.get("/ui/state", headers={"X-API-Key": "wrong"})
    said = b""
    async with asyncio.timeout(5):
        while b'"status":401' not in said:
            await asyncio.sleep(0.01)
            said += capfdbinary.readouterr().err

    assert said.count(b'"/ui/state"') == 1
