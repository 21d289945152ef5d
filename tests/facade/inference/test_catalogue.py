"""The catalogue follows Triton's models and keeps what it knew while Triton is away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from facade.errors import BackendUnavailable, InvalidInput, ModelNotFound
from facade.inference.catalogue import Catalogue
from facade.triton.interface import ModelDescription

pytestmark = pytest.mark.anyio


class Described:
    """A backend that only describes models."""

    def __init__(self, *models: ModelDescription) -> None:
        self.models = list(models)
        self.is_up = True

    async def describe_models(self, *, timeout_s: float) -> list[ModelDescription]:
        """Give the models, or fail."""
        if not self.is_up:
            raise BackendUnavailable("gone")
        return self.models

    async def infer(self, *_args: Any, **_kwargs: Any) -> Any:
        """Fail: nothing here infers."""
        raise AssertionError

    async def aclose(self) -> None:
        """Do nothing."""


def described(name: str, versions: tuple[int, ...] = (1,), **card: Any) -> ModelDescription:
    """Describe a model with a card."""
    return ModelDescription(
        name, versions, 8, is_decoupled=False, model_card=json.dumps(card) if card else None
    )


async def test_models_with_a_card_are_served() -> None:
    """A core model without a card is not offered to callers."""
    catalogue = Catalogue(Described(described("minilm", task="embedding"), described("minilm_core")), 1)
    await catalogue.refresh()

    assert catalogue.find("minilm").card.task == "embedding"
    with pytest.raises(ModelNotFound, match="Models served: minilm"):
        catalogue.find("minilm_core")


async def test_the_release_decides_the_version() -> None:
    """The stable version answers; while it isn't loaded the newest ready one does."""
    stable_2 = {"task": "embedding", "release": {"stable": 2}}
    backend = Described(described("m", (1, 2, 3), **stable_2))
    catalogue = Catalogue(backend, 1)
    await catalogue.refresh()
    assert catalogue.find("m").version == 2

    backend.models = [described("m", (1,), **stable_2)]
    await catalogue.refresh()
    assert catalogue.find("m").version == 1


@pytest.mark.parametrize("card", ["{", "[]", '{"task": 1}', '{"task":"x","release":{"stable":"y"}}'])
async def test_a_broken_card_hides_its_model_only(card: str) -> None:
    """The other models stay."""
    broken = ModelDescription("broken", (1,), 8, is_decoupled=False, model_card=card)
    catalogue = Catalogue(Described(broken, described("good", task="embedding")), 1)
    await catalogue.refresh()

    assert list(catalogue.models) == ["good"]


async def test_a_broken_card_is_complained_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """With the reason, and again if it is broken in another way; Triton is asked every second."""
    broken = [
        ModelDescription("broken", (1,), 8, is_decoupled=False, model_card=card)
        for card in ("{", '{"task": 1}')
    ]
    backend = Described(broken[0])
    catalogue = Catalogue(backend, 1)
    for model in (broken[0], broken[0], broken[1], broken[1], described("broken", task="embedding")):
        backend.models = [model]
        await catalogue.refresh()

    complaints = [record for record in caplog.records if record.msg == "model_card_unusable"]
    assert [record.exc_info for record in complaints] == [None, None]
    assert "truncated" in complaints[0].__dict__["reason"]
    assert "$.task" in complaints[1].__dict__["reason"]


async def test_before_the_first_answer_nothing_is_known() -> None:
    """A Triton that was never reached is not "no such model"."""
    backend = Described(described("m", task="embedding"))
    backend.is_up = False
    catalogue = Catalogue(backend, 1)
    with pytest.raises(BackendUnavailable):
        await catalogue.refresh()

    with pytest.raises(BackendUnavailable):
        catalogue.find("m")


async def test_a_lost_triton_keeps_its_models() -> None:
    """The last good answer stays, and readiness goes."""
    backend = Described(described("m", task="embedding"))
    catalogue = Catalogue(backend, 1)
    await catalogue.refresh()
    backend.is_up = False
    with pytest.raises(BackendUnavailable):
        await catalogue.refresh()

    assert catalogue.find("m").name == "m"
    assert not catalogue.is_current


async def test_a_model_for_something_else_is_refused() -> None:
    """The model exists, so this is the caller's mistake, and what it is for is said."""
    catalogue = Catalogue(Described(described("minilm", task="embedding")), 1)
    await catalogue.refresh()

    assert catalogue.find_for(("embedding", "reranking"), "minilm", ("*",)).name == "minilm"
    with pytest.raises(InvalidInput, match="is for embedding, not for reranking or text-classification"):
        catalogue.find_for(("reranking", "text-classification"), "minilm", ("*",))
