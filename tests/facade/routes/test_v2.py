"""The V2 protocol's inference through the façade: which way a request takes, whom it is charged to, what is refused."""

from __future__ import annotations

import gzip
import json
import struct
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest

from tests.facade.conftest import until_served
from tests.facade.wire_generation import chat_model
from tests.facade.wire_triton import DIMENSION, vector_of

if TYPE_CHECKING:
    import httpx

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

URL = "/v2/models/minilm/infer"


def body_of(*texts: str, **extra: Any) -> dict[str, Any]:
    """Write a request for a model of texts."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts), 1], "data": list(texts)}
    return {"inputs": [tensor], **extra}


async def test_a_plain_request_is_answered_like_any_other_for_the_task(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """From the cache the second time, also where it came another way."""
    await client.post("/v1/embeddings", json={"model": "minilm", "input": "a b"})
    answer = await client.post(URL, json=body_of("a b", "c", id="7"))

    assert triton.batches == [["a b"], ["c"]]
    assert answer.headers["x-cache"] == "partial"
    assert answer.headers["x-model-version"] == "1"
    found = answer.json()
    assert (found["id"], found["model_name"], found["model_version"]) == ("7", "minilm", "1")
    vectors, counts = found["outputs"]
    assert (vectors["name"], vectors["datatype"], vectors["shape"]) == ("embedding", "FP32", [2, DIMENSION])
    expected = np.concatenate([vector_of("a b"), vector_of("c")])
    assert np.array_equal(np.array(vectors["data"], dtype="<f4"), expected)
    assert (counts["datatype"], counts["shape"], counts["data"]) == ("UINT32", [2, 1], [4, 3])


async def test_what_has_parameters_or_a_version_goes_to_triton_as_it_is(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """Nothing of it is kept; tokens are charged though they weren't asked for, and not told."""
    for url, extra in ((URL, {"parameters": {"a": 1}}), ("/v2/models/minilm/versions/1/infer", {})):
        for _ in range(2):
            answer = await client.post(url, json=body_of("a b", outputs=[{"name": "embedding"}], **extra))
            assert [output["name"] for output in answer.json()["outputs"]] == ["embedding"]
            assert "x-cache" not in answer.headers

    assert len(triton.batches) == 4
    metrics = (await client.get("/metrics")).text
    assert 'facade_tokens_total{direction="in",model="minilm"} 16.0' in metrics
    assert 'endpoint="/v2/models/{model}/infer",method="POST",status="200"' in metrics


async def test_a_model_without_a_card_is_reachable(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """By the version that Triton would choose."""
    answer = await client.post("/v2/models/minilm_core/infer", json=body_of("a"))

    assert answer.json()["model_version"] == "1"
    assert triton.versions_asked == ["1"]


async def test_binary_data_travels_both_ways(client: httpx.AsyncClient) -> None:
    """Compressed too, with the header that says where the JSON ends."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 1], "parameters": {"binary_data_size": 5}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Encoding": "gzip"}
    answer = await client.post(URL, content=gzip.compress(head + b"\1\0\0\0a"), headers=headers)

    length = int(answer.headers["inference-header-content-length"])
    assert answer.headers["content-type"] == "application/octet-stream"
    assert json.loads(answer.content[:length])["outputs"][0]["parameters"] == {
        "binary_data_size": 4 * DIMENSION
    }
    assert answer.content[length:] == vector_of("a").tobytes() + struct.pack("<I", 3)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"data": ["a\0b"]}, "NUL"),
        ({"data": ["a" * 300_000]}, "300000 bytes"),
        ({"parameters": {"binary_data_size": 5}, "blob": b"\1\0\0\0\xff"}, "text[0]"),
        ({"parameters": {"binary_data_size": 5}, "blob": b"\xff\0\0\0a"}, "beyond the end"),
        ({"parameters": {"binary_data_size": 8}, "blob": b"\0\0\0\0\0\0\0\0"}, "its bytes are 2"),
        ({"data": ["poison"]}, "poison"),
    ],
)
async def test_a_text_that_cant_be_used_is_named(
    client: httpx.AsyncClient, tensor: dict[str, Any], said: str
) -> None:
    """In the protocol's own shape of an error."""
    blob = tensor.pop("blob", b"")
    head = json.dumps({"inputs": [{"name": "text", "datatype": "BYTES", "shape": [1, 1], **tensor}]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if blob else {}
    answer = await client.post(URL, content=head + blob, headers=headers)

    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nobody/infer", 404),
        ("/v2/models/minilm/versions/9/infer", 503),
        ("/v2/models/minilm/versions/x/infer", 404),
        (f"/v2/models/minilm/versions/{'9' * 5000}/infer", 404),
        ("/v2/nothing", 404),
    ],
)
async def test_what_isnt_there_is_said(client: httpx.AsyncClient, path: str, status: int) -> None:
    """Models, versions, paths."""
    answer = await client.post(path, json=body_of("a"))

    assert (answer.status_code, list(answer.json())) == (status, ["error"])


async def test_a_model_that_streams_is_for_generate(client: httpx.AsyncClient, triton: WireTriton) -> None:
    """Triton refuses it as well."""
    triton.models["chat"] = chat_model()
    await until_served(client, "chat")
    answer = await client.post("/v2/models/chat/infer", json=body_of("a"))

    assert answer.status_code == 400
    assert "generate" in answer.json()["error"]


async def test_what_changes_the_server_for_all_is_refused(client: httpx.AsyncClient) -> None:
    """With a sentence, whatever the method."""
    for path in (
        "/v2/repository/models/minilm/load",
        "/v2/repository/models/minilm/unload",
        "/v2/systemsharedmemory/region/a/register",
        "/v2/cudasharedmemory/status",
        "/v2/trace/setting",
        "/v2/models/minilm/trace/setting",
        "/v2/logging",
    ):
        for method in ("GET", "POST"):
            answer = await client.request(method, path)
            assert (answer.status_code, list(answer.json())) == (403, ["error"])


async def test_nothing_is_told_without_a_key(client: httpx.AsyncClient) -> None:
    """Not even that there is a server, unless the operator makes the path public."""
    for path in (
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/minilm",
        "/v2/models/stats",
        "/v2/logging",
    ):
        answer = await client.get(path, headers={"X-API-Key": "wrong"})
        assert (answer.status_code, list(answer.json())) == (401, ["error"])


async def test_a_failing_model_is_no_fault_of_the_callers(
    client: httpx.AsyncClient, triton: WireTriton
) -> None:
    """And a Triton that is full says when to come back."""
    triton.failure = (grpc.StatusCode.INTERNAL, "broken")
    assert (await client.post("/v2/models/minilm_core/infer", json=body_of("a"))).status_code == 502
    triton.failure = (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    answer = await client.post("/v2/models/minilm_core/infer", json=body_of("a"))
    assert answer.status_code == 503
    assert "retry-after" in answer.headers
