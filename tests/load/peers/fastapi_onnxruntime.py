"""
The peer: FastAPI with onnxruntime in a thread pool, one text a run, no batching.

It is what many start with, and on mixed lengths it is hard to beat on a CPU, as it pads nothing. It serves the same
graph and tokenizer, answers in the same shape, and checks no key. Run it by uvicorn, with ``PEER_THREADS`` set, and
what `graph` needs.
"""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel

from tests.load.peers.graph import Graph, to_answer

graph = Graph()
pool = ThreadPoolExecutor(int(os.environ["PEER_THREADS"]))
app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False})


class EmbeddingRequest(BaseModel):
    """One text or several, in the fields that the façade takes."""

    input: str | list[str]
    model: str = "minilm"
    encoding_format: str = "base64"


@app.post("/v1/embeddings")
async def create_embedding(request: EmbeddingRequest) -> Response:
    """Answer as OpenAI does; several texts are several runs, which use all threads and pad nothing."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    loop = asyncio.get_running_loop()
    found = await asyncio.gather(*(loop.run_in_executor(pool, graph.encode, [text]) for text in texts))
    return Response(orjson.dumps(to_answer(np.concatenate(found))), media_type="application/json")


@app.get("/health")
async def tell_health() -> dict[str, bool]:
    """Say that it runs."""
    return {"ok": True}
