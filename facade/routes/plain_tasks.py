"""What ``POST /predict`` answers for the tasks whose answer is a row of numbers an input."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import msgspec
import orjson

from facade.errors import InvalidInput
from facade.inference.classify import classify_inputs
from facade.inference.embed import embed_texts
from facade.inference.rerank import rerank_documents
from facade.routes.embeddings import to_numbers
from facade.schemas.predict import (
    ClassificationParameters,
    EmbeddingParameters,
    PredictRequest,
    RerankingParameters,
    RerankInputs,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from facade.context import RequestContext
    from facade.inference.catalogue import ServedModel
    from facade.inference.encode import Encode
    from facade.routes.predict import PlainTask

Parameters = TypeVar("Parameters")


def build_tasks(encode: Encode) -> Mapping[str, PlainTask]:
    """
    Make what answers for each task.

    Args:
        encode: Who has items answered.

    Returns:
        By the model card's task.
    """

    async def embed(wanted: PredictRequest, model: ServedModel, context: RequestContext) -> bytes:
        param, texts, is_one = find_texts(wanted)
        chosen = to_parameters(wanted, EmbeddingParameters)
        answer = await embed_texts(
            encode,
            model.name,
            texts,
            context,
            dimensions=chosen.dimensions,
            truncate=chosen.truncate,
            param=param,
        )
        vectors = [to_numbers(vector) for vector in answer.vectors]
        return _to_body(answer.model, answer.version, vectors[0] if is_one else vectors, answer.prompt_tokens)

    async def classify(wanted: PredictRequest, model: ServedModel, context: RequestContext) -> bytes:
        param, inputs, is_one = find_texts(wanted)
        chosen = to_parameters(wanted, ClassificationParameters)
        answer = await classify_inputs(
            encode,
            model.name,
            inputs,
            context,
            top_k=chosen.top_k,
            truncate=chosen.truncate,
            param=param,
        )
        scores = [[found._asdict() for found in labels] for labels in answer.scores]
        return _to_body(answer.model, answer.version, scores[0] if is_one else scores, answer.prompt_tokens)

    async def rerank(wanted: PredictRequest, model: ServedModel, context: RequestContext) -> bytes:
        if not isinstance(wanted.inputs, RerankInputs) or wanted.prompt is not None:
            raise InvalidInput(
                f"The model {model.name!r} orders documents: send 'inputs' as "
                '{"query": "…", "documents": ["…", "…"]}.',
                param="inputs",
            )
        chosen = to_parameters(wanted, RerankingParameters)
        answer = await rerank_documents(
            encode,
            model.name,
            wanted.inputs.query,
            wanted.inputs.documents,
            context,
            top_n=chosen.top_n,
            truncate=chosen.truncate,
            prefix="inputs.",
        )
        results = [asdict(found) for found in answer.results]
        return _to_body(answer.model, answer.version, results, answer.prompt_tokens)

    return {
        "embedding": embed,
        "text-classification": classify,
        "image-classification": classify,
        "reranking": rerank,
    }


def find_texts(wanted: PredictRequest) -> tuple[str, list[str], bool]:
    """
    Find what a request brings.

    Args:
        wanted: The request.

    Returns:
        The field's name, the inputs in it, and whether it held one alone instead of a list.

    Raises:
        InvalidInput: If there is nothing, or two things, or an object.
    """
    if (wanted.prompt is None) == (wanted.inputs is None):
        raise InvalidInput("Send either 'prompt' or 'inputs'.", param="prompt")
    param, given = ("inputs", wanted.inputs) if wanted.prompt is None else ("prompt", wanted.prompt)
    if isinstance(given, str):
        return param, [given], True
    if isinstance(given, list):
        return param, given, False
    raise InvalidInput(f"'{param}' must be a string or a list of strings for this model's task.", param=param)


def to_parameters(wanted: PredictRequest, kind: type[Parameters]) -> Parameters:
    """
    Read what a task takes besides its input.

    Args:
        wanted: The request.

        kind: The task's `msgspec.Struct`.

    Returns:
        The parameters.

    Raises:
        InvalidInput: If there is one that the task doesn't know, or a value that doesn't fit.
    """
    try:
        return msgspec.convert(wanted.parameters, kind)
    except msgspec.ValidationError as error:
        raise InvalidInput(f"'parameters': {error}.", param="parameters") from None


def _to_body(model: ServedModel, version: int, result: object, tokens: int) -> bytes:
    return orjson.dumps(
        {
            "model": model.name,
            "version": version,
            "task": model.card.task,
            "result": result,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
