"""The OpenAPI document, as callers' tools read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from facade import errors
from facade.openapi.components import ERROR_SHAPES
from facade.openapi.document import surface_of
from facade.problems import to_response
from tests.facade.conftest import until_served

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton


@pytest.fixture(name="document")
async def _document(client: httpx.AsyncClient) -> dict[str, Any]:
    """The document of a façade."""
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


async def test_it_is_openapi(document: dict[str, Any]) -> None:
    """As the standard's own schema has it, every reference included."""
    OpenAPIV31SpecValidator(document).validate()


async def test_it_has_what_a_caller_needs(document: dict[str, Any]) -> None:
    """How to send the key, what to send, what comes back, and what may go wrong."""
    operation = document["paths"]["/v1/embeddings"]["post"]

    assert document["security"] == [{"ApiKey": []}, {"Bearer": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == []
    assert {"$ref": "#/components/schemas/EmbeddingsRequest"} in [
        media["schema"] for media in operation["requestBody"]["content"].values()
    ]
    assert operation["responses"]["200"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/EmbeddingsAnswer"
    }
    assert {"200", "400", "401", "403", "404", "413", "429", "503", "504"} <= set(operation["responses"])
    assert {"$ref": "#/components/parameters/X-Request-Timeout"} in operation["parameters"]
    assert "text/event-stream" in str(document["paths"]["/v1/chat/completions"]["post"]["responses"]["200"])


async def test_every_component_is_used(document: dict[str, Any]) -> None:
    """What nothing refers to is left over."""
    text = str(document)

    for kind in ("schemas", "responses", "parameters", "headers"):
        for name in document["components"][kind]:
            assert f"'#/components/{kind}/{name}'" in text, name


@pytest.mark.parametrize(
    "path", ["/v1/embeddings", "/v2", "/v2/models/{model}", "/predict", "/v1", "/health/live"]
)
def test_errors_have_the_shape_that_is_documented(path: str) -> None:
    """By the code that writes them."""
    body, media_type = ERROR_SHAPES[surface_of(path)]
    answer = to_response({"path": path}, errors.InvalidInput("'input' is missing.", param="input"))

    assert answer.media_type == media_type
    assert set(body.__struct_fields__) == set(orjson.loads(bytes(answer.body)))


@pytest.mark.parametrize(
    "asked",
    [
        (
            "reranking",
            "/v1/rerank",
            {"query": "a", "documents": ["b"], "return_documents": True},
            "RerankAnswer",
        ),
        ("reranking", "/predict", {"inputs": {"query": "a", "documents": ["b"]}}, "PredictAnswer"),
        ("text-classification", "/v1/classify", {"input": ["a"]}, "ClassifyAnswer"),
    ],
)
async def test_answers_have_what_is_documented_and_no_more(
    client: httpx.AsyncClient, triton: WireTriton, asked: tuple[str, str, dict[str, Any], str]
) -> None:
    """Of tasks that the real stack of the tests has no model for."""
    task, path, body, name = asked
    document = (await client.get("/openapi.json")).json()
    card = {"task": task, "labels": ["no", "yes"], "max_input_tokens": 10, "release": {"stable": 1}}
    triton.models["judge"] = {"versions": [1], "max_batch_size": 8, "card": card}
    await until_served(client, "judge")
    answer = await client.post(path, json={"model": "judge", **body})
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    validator = Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    )

    assert answer.status_code == 200, answer.text
    validator.validate(answer.json())
    assert not validator.is_valid(answer.json() | {"more": 1})
