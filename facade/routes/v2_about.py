"""
What the V2 protocol tells about the server and its models; and what it offers that a façade must not let callers do.

Answers are Triton's own (`facade.triton.inspection`), less what the caller may not see: models that the key's globs
don't allow aren't listed, and extensions that change the server for everybody aren't offered. Health has the bodies of
the Open Inference Protocol, which KServe's client reads; Triton's own are empty, and its client looks at the status.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response

from facade.access.authorize import may_use
from facade.context import context_of
from facade.errors import InvalidInput, ModelNotFound, PermissionDenied
from facade.schemas import decode
from facade.schemas.v2_about import INDEX_DECODER

if TYPE_CHECKING:
    from facade.inference.catalogue import Catalogue
    from facade.inference.infer import Infer
    from facade.server import Drain
    from facade.triton.interface import Topic

MODEL = "/v2/models/{model}"
VERSION = "/v2/models/{model}/versions/{version}"

ABOUT: tuple[tuple[str, Topic], ...] = (("", "model"), ("/config", "config"), ("/stats", "statistics"))
"""Paths below a model's, and what they tell."""

KEPT_EXTENSIONS = frozenset(
    {
        "binary_tensor_data",
        "classification",
        "generate",
        "model_configuration",
        "parameters",
        "sequence",
        "statistics",
    }
)
"""Triton's extensions that work through the façade. Of ``model_repository`` the index does, but not load and unload."""

SHARED_MEMORY = "Shared memory can't be used through the façade; send tensors in the request."
REFUSED = {
    "/v2/repository/models/{model}/load": "Models are loaded and unloaded by triton-export or at Triton itself.",
    "/v2/repository/models/{model}/unload": "Models are loaded and unloaded by triton-export or at Triton itself.",
    "/v2/systemsharedmemory/{rest:path}": SHARED_MEMORY,
    "/v2/cudasharedmemory/{rest:path}": SHARED_MEMORY,
    "/v2/trace/setting": "Tracing is set by the operator, at Triton itself.",
    "/v2/models/{model}/trace/setting": "Tracing is set by the operator, at Triton itself.",
    "/v2/logging": "Logging is set by the operator, at Triton itself.",
}
"""What would let one caller change the server for all, or read its memory."""


def build_router(infer: Infer, catalogue: Catalogue, drain: Drain) -> APIRouter:
    """
    Make the routes.

    Args:
        infer: Asks Triton.

        catalogue: Whether Triton answers.

        drain: Whether this process is on its way out.

    Returns:
        The router.
    """
    router = APIRouter(tags=["kserve"])
    _add_server(router, infer, catalogue, drain)
    _add_models(router, infer)
    for path, reason in REFUSED.items():
        _add_refusal(router, path, reason)
    return router


def _add_server(router: APIRouter, infer: Infer, catalogue: Catalogue, drain: Drain) -> None:
    @router.get("/v2")
    async def describe_server(request: Request) -> Response:
        """Name the server, its version and its extensions."""
        found = await infer.inspect("server", "", "", context_of(request.scope))
        found["extensions"] = [name for name in found["extensions"] if name in KEPT_EXTENSIONS]
        return _answer(found)

    @router.get("/v2/health/live")
    async def live() -> Response:
        """Answer while the process runs."""
        return _answer({"live": True})

    @router.get("/v2/health/ready")
    async def ready() -> Response:
        """Say whether requests can be answered now: 200, or 400 as Triton has it."""
        if drain.is_draining:
            raise InvalidInput("The façade is shutting down.")
        if not catalogue.is_current:
            raise InvalidInput("Triton does not answer.")
        return _answer({"ready": True})

    @router.post("/v2/repository/index")
    async def list_repository(request: Request) -> Response:
        """List the models in the repository that the key may use, with the state of each version."""
        body = await request.body()
        wants_ready = decode(INDEX_DECODER, body).ready if body else False
        globs = context_of(request.scope).key_models
        index = await infer.inspect("index", "", "", context_of(request.scope))
        return _answer(
            [
                model
                for model in index
                if may_use(globs, model["name"]) and (not wants_ready or model.get("state") == "READY")
            ]
        )

    @router.get("/v2/models/stats")
    async def count_all(request: Request) -> Response:
        """Count what each model did, over all callers."""
        context = context_of(request.scope)
        found = await infer.inspect("statistics", "", "", context)
        kept = [model for model in found["model_stats"] if may_use(context.key_models, model["name"])]
        return _answer({"model_stats": kept})


def _add_models(router: APIRouter, infer: Infer) -> None:
    def add(path: str, topic: Topic) -> None:
        async def describe(request: Request, model: str, version: str = "") -> Response:
            return _answer(await infer.inspect(topic, model, _check(version), context_of(request.scope)))

        about = {
            "model": "Name a model's versions, inputs and outputs.",
            "config": "Give a model's configuration.",
            "statistics": "Count what a model did, over all callers.",
        }
        router.add_api_route(path, describe, name=f"{topic}_of_model", description=about[topic])

    for base in (MODEL, VERSION):
        for suffix, topic in ABOUT:
            add(base + suffix, topic)

    @router.get(f"{MODEL}/ready")
    @router.get(f"{VERSION}/ready")
    async def model_ready(request: Request, model: str, version: str = "") -> Response:
        """Say whether a model can be asked: 200, or 400 as Triton has it."""
        if not await infer.inspect("ready", model, _check(version), context_of(request.scope)):
            raise InvalidInput("Model version not ready")
        return _answer({"name": model, "ready": True})


def _add_refusal(router: APIRouter, path: str, reason: str) -> None:
    async def refuse() -> Response:
        raise PermissionDenied(reason)

    router.add_api_route(path, refuse, methods=["GET", "POST"], include_in_schema=False)


def _check(version: str) -> str:
    if version and not (version.isascii() and version.isdecimal()):
        raise ModelNotFound(f"The version {version!r} is no number.", param="version")
    return version


def _answer(found: Any) -> Response:
    return Response(orjson.dumps(found), media_type="application/json")
