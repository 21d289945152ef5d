"""``/ui/state``: what the page at ``/ui`` shows of the models that its key may use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response

from facade import __version__
from facade.access.authorize import may_use
from facade.context import context_of
from facade.errors import FacadeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from facade.context import RequestContext
    from facade.inference.catalogue import Catalogue, ServedModel
    from facade.inference.infer import Infer
    from facade.inference.release_split import ReleaseSplit

TRITON_AWAY = "Triton does not answer."


def build_router(
    catalogue: Catalogue, infer: Infer, split: ReleaseSplit, *, max_image_bytes: int
) -> APIRouter:
    """
    Make the route.

    Args:
        catalogue: Which models there are.

        infer: Asks Triton which models it has and can't serve.

        split: How canaries do.

        max_image_bytes: Largest image file that is taken.

    Returns:
        The router.
    """
    router = APIRouter(include_in_schema=False)

    @router.get("/ui/state")
    async def tell_state(request: Request) -> Response:
        """Describe each model that the key may use: its task, versions, release, limits, and why it isn't ready."""
        context = context_of(request.scope)
        served = [
            _describe(model, split.canary_state(model), is_ready=catalogue.is_current)
            for model in catalogue.visible(context.key_models)
        ]
        known = {model["name"] for model in served} | catalogue.described.keys()
        missing = await _list_missing(infer, context) if catalogue.is_current else []
        body = {
            "version": __version__,
            "models": served + [model for model in missing if model["name"] not in known],
            "max_image_bytes": max_image_bytes,
        }
        return Response(orjson.dumps(body), media_type="application/json")

    return router


def _describe(model: ServedModel, canary_state: str | None, *, is_ready: bool) -> dict[str, Any]:
    """Write a model that is served."""
    card, release = model.card, model.card.release
    canary = None
    if release is not None and canary_state is not None:
        canary = {"version": release.canary, "percent": release.canary_percent, "state": canary_state}
    return {
        "name": model.name,
        "task": card.task,
        "model_id": card.model_id,
        "reason": "" if is_ready else TRITON_AWAY,
        "version": model.version,
        "versions": list(model.versions),
        "canary": canary,
        "can_chat": card.chat_template is not None,
        "limits": {
            "dimension": card.dimension,
            "max_input_tokens": card.max_input_tokens,
            "max_model_len": card.max_model_len,
            "max_batch_size": model.max_batch_size,
            "labels": len(card.labels) or None,
        },
    }


async def _list_missing(infer: Infer, context: RequestContext) -> Sequence[dict[str, Any]]:
    """Find the models in Triton's repository of which no version is ready, with Triton's reason."""
    try:
        index = await infer.inspect("index", "", "", context)
    except FacadeError:  # gone since the catalogue last looked, which says so in a moment
        return []
    ready = {entry["name"] for entry in index if entry.get("state") == "READY"}
    reasons = {
        entry["name"]: entry.get("reason") or "It is not loaded."
        for entry in index
        if entry["name"] not in ready and may_use(context.key_models, entry["name"])
    }
    return [
        {"name": name, "task": "", "reason": reason, "version": None, "versions": [], "canary": None}
        for name, reason in sorted(reasons.items())
    ]
