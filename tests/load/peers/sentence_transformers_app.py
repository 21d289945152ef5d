"""
Where many services start: FastAPI, and one call of sentence-transformers on PyTorch for each request.

No batching, no cache, no ONNX. Run it by uvicorn, with ``PEER_MODEL``, the folder with the original weights, and
``PEER_THREADS``, PyTorch's threads for one call.
"""

import os

import torch
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer

from tests.load.peers.graph import to_answer

torch.set_num_threads(int(os.environ["PEER_THREADS"]))
model = SentenceTransformer(os.environ["PEER_MODEL"], device="cpu")
app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False})


class EmbeddingRequest(BaseModel):
    """One text or several, in the fields that the façade takes."""

    input: str | list[str]


@app.post("/v1/embeddings")
def create_embedding(request: EmbeddingRequest) -> dict[str, object]:
    """Answer as OpenAI does; FastAPI runs this in its thread pool."""
    texts = [request.input] if isinstance(request.input, str) else request.input
    return to_answer(model.encode(texts, show_progress_bar=False))


@app.get("/health")
def tell_health() -> dict[str, bool]:
    """Say that it runs."""
    return {"ok": True}
