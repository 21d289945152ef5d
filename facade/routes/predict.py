"""``POST /predict``: one plain route for every task."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import orjson
from fastapi import APIRouter

from facade.errors import InvalidInput
from facade.routes.direct import add_documented
from facade.routes.embeddings import to_numbers
from facade.schemas import decode
from facade.schemas.predict import PREDICT_DECODER, EmbeddingParameters, PredictRequest

if TYPE_CHECKING:
    from facade.context import RequestContext
    from facade.inference.catalogue import Catalogue
    from facade.inference.embed import Embed
    from facade.routes.direct import Endpoint


def build_endpoint(catalogue: Catalogue, embed: Embed, default_model: str | None) -> Endpoint:
    """
    Make the endpoint.

    Args:
        catalogue: Which models there are.

        embed: The use case for the task embedding.

        default_model: What answers when the request names no model and several are served.

    Returns:
        What answers ``POST /predict``.
    """

    async def predict(context: RequestContext, body: bytes) -> bytes:
        wanted = decode(PREDICT_DECODER, body)
        param, given = _find_inputs(wanted)
        model_name = wanted.model or choose_model(catalogue, default_model, context.key_models)
        parameters = _to_embedding_parameters(wanted)
        answer = await embed.embed_texts(
            model_name,
            [given] if isinstance(given, str) else given,
            context,
            dimensions=parameters.dimensions,
            truncate=parameters.truncate,
            param=param,
        )
        vectors = [to_numbers(vector) for vector in answer.vectors]
        content = {
            "model": answer.model.name,
            "version": answer.version,
            "task": answer.model.card.task,
            "result": vectors[0] if isinstance(given, str) else vectors,
            "usage": {"prompt_tokens": answer.prompt_tokens, "total_tokens": answer.prompt_tokens},
        }
        return orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)

    return predict


def build_router(endpoint: Endpoint) -> APIRouter:
    """
    Make the routes.

    Args:
        endpoint: What answers.

    Returns:
        The router.
    """
    router = APIRouter(tags=["plain"])

    about = "Run a model on one text or several; the result has the shape of the input."
    add_documented(router, "/predict", endpoint, wire_model=PredictRequest, about=about)
    return router


def choose_model(catalogue: Catalogue, default_model: str | None, globs: tuple[str, ...]) -> str:
    """
    Choose who answers a request that names no model.

    Args:
        catalogue: Which models there are.

        default_model: The operator's choice, if any.

        globs: Patterns of the names that the caller may use.

    Returns:
        A model's name.

    Raises:
        InvalidInput: If there are several and the operator chose none.
    """
    if default_model is not None:
        return default_model
    names = [model.name for model in catalogue.visible(globs)]
    if len(names) > 1:
        raise InvalidInput(f"'model' is missing; name one of {', '.join(names)}.", param="model")
    # With none at all, the catalogue's own look-up says why.
    return names[0] if names else "default"


def _find_inputs(wanted: PredictRequest) -> tuple[str, str | list[str]]:
    if (wanted.prompt is None) == (wanted.inputs is None):
        raise InvalidInput("Send either 'prompt' or 'inputs'.", param="prompt")
    if wanted.prompt is not None:
        return "prompt", wanted.prompt
    return "inputs", wanted.inputs or []


def _to_embedding_parameters(wanted: PredictRequest) -> EmbeddingParameters:
    try:
        return msgspec.convert(wanted.parameters, EmbeddingParameters)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"'parameters': {error}.", param="parameters") from None
