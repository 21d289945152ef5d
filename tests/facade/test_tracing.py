"""Traces reach a collector, and go on to Triton; without an endpoint nothing of it is loaded."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from pydantic import SecretStr

from facade.app import build_app
from facade.settings import Settings
from facade.tracing import set_up_tracing
from tests.facade.conftest import KEY, until_ready
from tests.facade.serving import serving
from tests.facade.wire_generation import chat_model

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from tests.facade.wire_triton import WireTriton

pytestmark = pytest.mark.anyio

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"


class Collector:
    """Stands in for a collector at the wire: takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, str, str, str]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Keep the spans of one export."""
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        body = b""
        while (message := await receive()).get("more_body"):
            body += message["body"]
        export = ExportTraceServiceRequest.FromString(_unpacked(body + message["body"], scope))
        self.spans += [
            (span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex())
            for resource in export.resource_spans
            for group in resource.scope_spans
            for span in group.spans
        ]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def test_a_trace_goes_from_the_caller_to_triton(triton: WireTriton) -> None:
    """One trace: the caller's span, the request's, the gRPC call's, and Triton gets the last as its parent."""
    collector = Collector()
    async with serving(collector) as collector_url:
        settings = Settings(
            triton_url=triton.url,
            catalogue_interval_s=0.05,
            api_key=SecretStr(KEY),
            otlp_endpoint=collector_url,
        )
        async with serving(build_app(settings)) as url, httpx.AsyncClient(base_url=url) as client:
            await until_ready(client)
            headers = {"X-API-Key": KEY, "traceparent": f"00-{TRACE_ID}-{CALLERS_SPAN}-01"}
            answer = await client.post(
                "/v1/embeddings", json={"model": "minilm", "input": "a"}, headers=headers
            )
            assert answer.status_code == 200
        async with asyncio.timeout(10):
            while not any(name in {"POST /v1/embeddings", "POST"} for name, *_ in collector.spans):
                await asyncio.sleep(0.01)

    ours = {name: (span, parent) for name, trace, span, parent in collector.spans if trace == TRACE_ID}
    (request_name,) = [name for name in ours if name.startswith("POST")]
    (call_name,) = [name for name in ours if "ModelInfer" in name]
    assert ours[request_name][1] == CALLERS_SPAN
    assert ours[call_name][1] == ours[request_name][0]
    assert triton.metadata[0]["traceparent"] == f"00-{TRACE_ID}-{ours[call_name][0]}-01"


async def test_a_stream_is_traced_and_can_be_broken_off(triton: WireTriton) -> None:
    """The span's context goes to Triton in the headers, and the stream behaves as without tracing."""
    triton.models["chat"] = chat_model()
    body = {"model": "chat", "prompt": "a"}
    async with serving(Collector()) as collector_url:
        settings = Settings(triton_url=triton.url, api_key=SecretStr(KEY), otlp_endpoint=collector_url)
        async with serving(build_app(settings)) as url, httpx.AsyncClient(base_url=url) as client:
            headers = {"X-API-Key": KEY, "traceparent": f"00-{TRACE_ID}-{CALLERS_SPAN}-01"}
            answer = await client.post("/predict", json=body, headers=headers)
            assert answer.json()["result"] == "Hello, world!"
            assert triton.stream_metadata[0]["traceparent"].split("-")[1] == TRACE_ID

            triton.stream_failure = (0, None, "[INVALID_ARG] 'top_p' is odd")
            assert (await client.post("/predict", json=body, headers=headers)).status_code == 400
            triton.stream_failure = None

            triton.pause_after = 1
            late = {**headers, "X-Request-Timeout": "0.3"}
            assert (await client.post("/predict", json=body, headers=late)).status_code == 504
            await asyncio.wait_for(triton.cancellation.wait(), 5)


def test_no_endpoint_loads_nothing() -> None:
    """Off costs nothing: not an import, not a layer."""
    assert set_up_tracing(None, "1") is None
    ours = "('opentelemetry.instrumentation', 'opentelemetry.exporter')"
    code = f"import facade.app, sys; print([m for m in sys.modules if m.startswith({ours})])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def _unpacked(body: bytes, scope: Scope) -> bytes:
    return gzip.decompress(body) if (b"content-encoding", b"gzip") in scope["headers"] else body
