"""``GET /v1/models``: what can be called, in OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response

from facade.context import context_of

if TYPE_CHECKING:
    from facade.inference.catalogue import Catalogue, ServedModel


def build_router(catalogue: Catalogue) -> APIRouter:
    """
    Make the routes.

    Args:
        catalogue: Which models there are.

    Returns:
        The router.
    """
    router = APIRouter(tags=["openai"])

    @router.get("/v1/models")
    async def list_models(request: Request) -> Response:
        """List the models that answer now and that the key may use."""
        models = [to_model_object(model) for model in catalogue.visible(context_of(request.scope).key_models)]
        return Response(orjson.dumps({"object": "list", "data": models}), media_type="application/json")

    @router.get("/v1/models/{model}")
    async def retrieve_model(model: str, request: Request) -> Response:
        """Describe one model."""
        found = catalogue.find(model, context_of(request.scope).key_models)
        return Response(orjson.dumps(to_model_object(found)), media_type="application/json")

    return router


def to_model_object(model: ServedModel) -> dict[str, Any]:
    """
    Write a model as OpenAI's model object, with what its card says beside it.

    Args:
        model: The model.

    Returns:
        Values for JSON.
    """
    card = model.card
    described = {
        "task": card.task,
        "model_id": card.model_id,
        "version": model.version,
        "versions": list(model.versions),
        "dimension": card.dimension,
        "max_input_tokens": card.max_input_tokens,
        "labels": list(card.labels) or None,
    }
    return {
        "id": model.name,
        "object": "model",
        "created": card.created,
        "owned_by": "triton-facade",
        **{name: value for name, value in described.items() if value is not None},
    }
