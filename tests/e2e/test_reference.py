"""What the reference pages list is what the real stack has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from docs.reference.api_page import write_document
from docs.reference.metrics_page import door_families, facade_families
from tests.stack import CHAT_NAME, MODEL_NAME

if TYPE_CHECKING:
    from deploy.local.triton import TritonServer
    from tests.stack import Facade

pytestmark = pytest.mark.e2e


def test_no_metric_is_missing(facade: Facade, triton: TritonServer) -> None:
    """After an embedding and a chat, each family of ours is on the page, with its kind."""
    with httpx.Client(base_url=facade.url, headers=facade.headers, timeout=60) as client:
        client.post("/v1/embeddings", json={"model": MODEL_NAME, "input": "text"}).raise_for_status()
        client.post(
            "/v1/completions", json={"model": CHAT_NAME, "prompt": "Hello", "max_tokens": 4}
        ).raise_for_status()
        ours = client.get("/metrics").raise_for_status().text
    theirs = httpx.get(f"http://127.0.0.1:{triton.metrics_port}/metrics").raise_for_status().text

    listed = {family.name.removesuffix("_total"): family.kind for family in facade_families()}
    found = {
        family.name: family.type
        for family in text_string_to_metric_families(ours)
        if not family.name.endswith("_created")  # prometheus_client's own
    }
    assert found.items() <= listed.items()
    doors = {family.name.removesuffix("_total"): family.kind for family in door_families()}
    shown = {
        family.name: family.type
        for family in text_string_to_metric_families(theirs)
        if not family.name.startswith("nv_")
    }
    assert shown == doors


TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "data": ["text"]}
CHAT = {"model": CHAT_NAME, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 4}
MODEL = "/v2/models/{model}"

ASKED: tuple[tuple[str, str, Any, int], ...] = (
    ("get", "/health/live", None, 200),
    ("get", "/health/ready", None, 200),
    ("post", "/predict", {"prompt": "text"}, 200),
    ("post", "/predict", {"prompt": "text", "model": CHAT_NAME}, 200),
    ("post", "/predict", {}, 400),
    ("post", "/v1/embeddings", {"model": MODEL_NAME, "input": ["text"]}, 200),
    ("post", "/v1/embeddings", {"model": MODEL_NAME, "input": "text", "encoding_format": "base64"}, 200),
    ("post", "/v1/embeddings", {"model": "nobody", "input": "text"}, 404),
    ("post", "/v1/chat/completions", CHAT | {"logprobs": True}, 200),
    ("post", "/v1/completions", {"model": CHAT_NAME, "prompt": "Hello", "max_tokens": 4, "logprobs": 1}, 200),
    ("get", "/v1/models", None, 200),
    ("get", "/v1/models/{model}", None, 200),
    ("get", "/v2", None, 200),
    ("get", "/v2/health/live", None, 200),
    ("get", "/v2/health/ready", None, 200),
    ("post", "/v2/repository/index", None, 200),
    ("get", "/v2/models/stats", None, 200),
    ("get", MODEL, None, 200),
    ("get", f"{MODEL}/versions/{{version}}", None, 200),
    ("get", f"{MODEL}/config", None, 200),
    ("get", f"{MODEL}/stats", None, 200),
    ("get", f"{MODEL}/ready", None, 200),
    ("post", f"{MODEL}/infer", {"id": "1", "inputs": [TENSOR]}, 200),
    ("post", f"{MODEL}/infer", {"inputs": []}, 400),
)
"""Method, path as documented, body, and the status that is expected."""


@pytest.mark.parametrize(("method", "path", "body", "status"), ASKED)
def test_answers_are_as_documented(facade: Facade, method: str, path: str, body: Any, status: int) -> None:
    """Their status, their media type, their JSON and their headers."""
    document = json.loads(write_document())
    url = facade.url + path.format(model=MODEL_NAME, version="1")
    answer = httpx.request(method, url, json=body, headers=facade.headers, timeout=60)
    described = document["paths"][path][method]["responses"][str(status)]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    media_type = answer.headers["content-type"].partition(";")[0]

    assert answer.status_code == status, answer.text
    schema = {**described["content"][media_type]["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(answer.json())
    of_ours = {name for name in answer.headers if name in document["components"]["headers"]}
    assert "x-request-id" in of_ours
    assert of_ours <= set(described["headers"])


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/embeddings", {"model": MODEL_NAME, "input": "text"}, "EmbeddingsAnswer"),
        ("/predict", {"prompt": "text"}, "PredictAnswer"),
        ("/v1/chat/completions", CHAT, "ChatAnswer"),
        ("/v1/models", None, "ModelList"),
        (f"/v2/models/{MODEL_NAME}", None, "V2Model"),
        (f"/v2/models/{MODEL_NAME}/infer", {"inputs": [TENSOR]}, "V2InferAnswer"),
        (f"/v2/models/{CHAT_NAME}/generate", {"text_input": "Hello", "max_tokens": 4}, "V2Generated"),
    ],
)
def test_no_answer_has_more_than_is_documented(facade: Facade, path: str, body: Any, name: str) -> None:
    """A field that the document doesn't have would be found."""
    document = json.loads(write_document())
    for schema in document["components"]["schemas"].values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    method = "GET" if body is None else "POST"
    answer = httpx.request(method, facade.url + path, json=body, headers=facade.headers, timeout=60)

    assert answer.status_code == 200, answer.text
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    Draft202012Validator(schema).validate(answer.json())
