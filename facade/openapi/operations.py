"""What each route takes and gives, in a table; FastAPI knows paths, methods, tags and descriptions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from facade.openapi.components import PARAMETERS, QUOTA, SCHEMAS
from facade.schemas.answers import (
    ChatAnswer,
    ClassifyAnswer,
    CompletionsAnswer,
    EmbeddingsAnswer,
    Live,
    ModelList,
    ModelObject,
    PredictAnswer,
    Ready,
    RerankAnswer,
)
from facade.schemas.answers_v2 import (
    V2Generated,
    V2IndexEntry,
    V2InferAnswer,
    V2Live,
    V2Model,
    V2ModelReady,
    V2Ready,
    V2Server,
    V2Statistics,
)
from facade.schemas.v2_about import RepositoryIndexRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"
EVENTS = "text/event-stream"
BINARY = "application/octet-stream"

BYTES = {"type": "string", "format": "binary"}
TEXT = {"type": "string"}
OBJECT = {"type": "object"}

ASKED = (400, 401, 403, 404, 429, 500, 502, 503, 504)
"""Statuses that any route with a key can end with: besides its own, those of what stands before it."""

PUBLIC = (400, 403, 500)
"""Statuses of routes that need no key."""

COMPUTED = ("x-model-version", "x-cache", "age")
"""Headers of what a model computed, or what was stored of that."""


class Operation(NamedTuple):
    """What a route takes and gives."""

    operation_id: str
    """Its name, which clients that are generated call it by."""

    summary: str
    """Its name for people."""

    answers: Mapping[str, Any]
    """Schemas of the answer with status 200, by media type."""

    bodies: Mapping[str, Any] = {}
    """Schemas of further bodies that it takes, by media type."""

    needs_body: bool = True
    """Whether one of them has to be there."""

    statuses: tuple[int, ...] = ASKED
    """Errors."""

    headers: tuple[str, ...] = QUOTA
    """Headers of the answer."""

    parameters: tuple[str, ...] = ("X-Request-Timeout", "X-Request-ID")
    """Headers of the request."""

    is_public: bool = False
    """Whether it needs no key."""

    further: Mapping[int, Any] = {}
    """Answers that aren't errors, by other statuses: their schemas."""


def ref(model: type[Any]) -> dict[str, Any]:
    """Refer to a wire model among the components."""
    return {"$ref": SCHEMAS + model.__name__}


def _inference(operation_id: str, summary: str, model: type[Any], *, streams: bool = False) -> Operation:
    """A route that has a model compute."""
    answers = {JSON: ref(model)} | ({EVENTS: TEXT} if streams else {})
    return Operation(
        operation_id,
        summary,
        answers,
        statuses=(*ASKED, 413),
        headers=(*COMPUTED, *QUOTA),
        parameters=tuple(PARAMETERS),
    )


def _question(operation_id: str, summary: str, answer: Mapping[str, Any]) -> Operation:
    return Operation(operation_id, summary, {JSON: answer})


def _public(operation_id: str, summary: str, model: type[Any]) -> Operation:
    return Operation(operation_id, summary, {JSON: ref(model)}, statuses=PUBLIC, headers=(), is_public=True)


def _infer(suffix: str) -> Operation:
    return _inference("infer" + suffix, "Run a model on tensors", V2InferAnswer)._replace(
        answers={JSON: ref(V2InferAnswer), BINARY: BYTES},
        bodies={BINARY: BYTES},
        headers=(*COMPUTED, "inference-header-content-length", *QUOTA),
    )


def _of_model(suffix: str, path: str) -> dict[tuple[str, str], Operation]:
    """The V2 protocol's routes of a model, or of one of its versions."""
    whole = _inference("generate" + suffix, "Answer a prompt", V2Generated)
    stream = _inference("generateStream" + suffix, "Answer a prompt as it is written", V2Generated)
    return {
        ("get", path): _question("describe" + suffix, "Describe a model", ref(V2Model)),
        ("get", f"{path}/config"): _question("config" + suffix, "Give a model's configuration", OBJECT),
        ("get", f"{path}/stats"): _question("statistics" + suffix, "Count its work", ref(V2Statistics)),
        ("get", f"{path}/ready"): _question("ready" + suffix, "Can it be asked?", ref(V2ModelReady)),
        ("post", f"{path}/infer"): _infer(suffix),
        ("post", f"{path}/generate"): whole,
        ("post", f"{path}/generate_stream"): stream._replace(answers={EVENTS: TEXT}),
    }


INDEX = Operation(
    "listRepository",
    "List the repository",
    {JSON: {"type": "array", "items": ref(V2IndexEntry)}},
    bodies={JSON: ref(RepositoryIndexRequest)},
    needs_body=False,
    statuses=(*ASKED, 413),
)

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("get", "/health/live"): _public("live", "Does the process run?", Live),
    ("get", "/health/ready"): _public("ready", "Can requests be answered?", Ready)._replace(
        further={503: ref(Ready)}
    ),
    ("get", "/metrics"): Operation("metrics", "Metrics for Prometheus", {"text/plain": TEXT}),
    ("post", "/predict"): _inference("predict", "Run any model", PredictAnswer, streams=True),
    ("post", "/v1/embeddings"): _inference("createEmbedding", "Turn texts into vectors", EmbeddingsAnswer),
    ("post", "/v1/classify"): _inference("classify", "Score labels", ClassifyAnswer),
    ("post", "/v1/rerank"): _inference("rerank", "Order documents", RerankAnswer),
    ("post", "/v2/rerank"): _inference("rerankV2", "Order documents", RerankAnswer),
    ("post", "/v1/chat/completions"): _inference(
        "createChatCompletion", "Answer a conversation", ChatAnswer, streams=True
    ),
    ("post", "/v1/completions"): _inference(
        "createCompletion", "Go on where a prompt ends", CompletionsAnswer, streams=True
    ),
    ("get", "/v1/models"): _question("listModels", "List the models", ref(ModelList)),
    ("get", "/v1/models/{model}"): _question("retrieveModel", "Describe a model", ref(ModelObject)),
    ("get", "/v2"): _question("describeServer", "Describe the server", ref(V2Server)),
    ("get", "/v2/health/live"): _question("serverLive", "Does the server run?", ref(V2Live)),
    ("get", "/v2/health/ready"): _question("serverReady", "Can requests be answered?", ref(V2Ready)),
    ("post", "/v2/repository/index"): INDEX,
    ("get", "/v2/models/stats"): _question("allStatistics", "Count all models' work", ref(V2Statistics)),
    **_of_model("Model", "/v2/models/{model}"),
    **_of_model("ModelVersion", "/v2/models/{model}/versions/{version}"),
}
"""By method and path."""
