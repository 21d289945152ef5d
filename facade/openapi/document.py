"""FastAPI's own document, completed with what only we know of bodies, answers, errors and headers."""

from __future__ import annotations

import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from facade.openapi.components import (
    ERROR_SHAPES,
    HEADERS,
    SCHEMAS,
    SECURITY_SCHEMES,
    error_name,
    error_responses,
    header_references,
    parameter_components,
    schema_components,
)
from facade.openapi.operations import OPERATIONS

ABOUT = (
    "Models of a Triton Inference Server, behind keys, quotas, a cache and deadlines. Send the key as `X-API-Key` or "
    "as `Authorization: Bearer`. Streams are server-sent events (`data: …`), the last of them `data: [DONE]` on "
    "OpenAI's routes; an error in a stream that has begun is its last event."
)

TAGS = {
    "openai": "As OpenAI's clients call it.",
    "classification": "Labels for texts and images.",
    "reranking": "As Cohere's and Jina's clients call it.",
    "plain": "One route for every task.",
    "kserve": "The KServe V2 protocol (Open Inference Protocol), as Triton's and KServe's clients call it.",
    "operations": "For probes and for Prometheus.",
}


class DescribedApi(FastAPI):
    """FastAPI that knows what our routes read and write by themselves."""

    def openapi(self) -> dict[str, Any]:
        """
        Describe the API.

        Returns:
            The OpenAPI document, made when it is first asked for.
        """
        if self.openapi_schema is None:
            self.openapi_schema = describe(self)
        return self.openapi_schema


def describe(app: FastAPI) -> dict[str, Any]:
    """
    Write the OpenAPI document.

    Args:
        app: With all routes.

    Returns:
        OpenAPI 3.1.
    """
    document: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        description=ABOUT,
        routes=app.routes,
        tags=[{"name": name, "description": about} for name, about in TAGS.items()],
    )
    document["security"] = [{name: []} for name in SECURITY_SCHEMES]
    used: dict[str, set[int]] = {surface: set() for surface in ERROR_SHAPES}
    for path, methods in document["paths"].items():
        for method, described in methods.items():
            _complete(described, method, path, used)
    responses: dict[str, Any] = {}
    for surface, statuses in used.items():
        responses |= error_responses(surface, sorted(statuses))
    names = sorted(set(re.findall(rf"{SCHEMAS}(\w+)", repr([document["paths"], responses]))))
    document["components"] = {
        "schemas": schema_components(names),
        "responses": responses,
        "parameters": parameter_components(),
        "headers": HEADERS,
        "securitySchemes": SECURITY_SCHEMES,
    }
    return document


def _complete(described: dict[str, Any], method: str, path: str, used: dict[str, set[int]]) -> None:
    """Put what the table has into what FastAPI wrote, and note which errors of which surface there are."""
    known = OPERATIONS[method, path]
    surface = surface_of(path)
    described["operationId"], described["summary"] = known.operation_id, known.summary
    if known.bodies:
        body = described.setdefault("requestBody", {"required": known.needs_body, "content": {}})
        body["content"] |= {media_type: {"schema": schema} for media_type, schema in known.bodies.items()}
    names = (*re.findall(r"{(\w+)}", path), *known.parameters)
    described["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in names]
    if known.is_public:
        described["security"] = []
    answers = {200: known.answers} | {
        status: {"application/json": it} for status, it in known.further.items()
    }
    headers = header_references(("x-request-id", *known.headers))
    described["responses"] = {
        str(status): {
            "description": "The answer." if status == 200 else "Not now.",  # noqa: PLR2004
            "headers": headers,
            "content": {media_type: {"schema": schema} for media_type, schema in content.items()},
        }
        for status, content in answers.items()
    } | {
        str(status): {"$ref": f"#/components/responses/{error_name(surface, status)}"}
        for status in sorted(known.statuses)
    }
    used[surface] |= set(known.statuses)


def surface_of(path: str) -> str:
    """
    Say in which shape a path's errors are.

    Args:
        path: The path.

    Returns:
        One of `ERROR_SHAPES`; `facade.problems` decides likewise.
    """
    if path.startswith("/v1/"):
        return "OpenAI"
    return "V2" if path == "/v2" or path.startswith("/v2/") else "Problem"
