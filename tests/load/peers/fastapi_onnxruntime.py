"""
The peer: FastAPI with onnxruntime in a thread pool, one text a run, no batching.

It is what many start with, and on mixed lengths it is hard to beat on a CPU, as it pads nothing. It serves the same
graph and tokenizer, answers in the same shape, and checks no key. Run it by uvicorn, with ``PEER_GRAPH``,
``PEER_TOKENIZER``, ``PEER_THREADS`` (one a core serves it best) and ``PEER_MAX_TOKENS`` set.
"""

import asyncio
import os
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnxruntime as ort
import orjson
from fastapi import FastAPI, Response
from pydantic import BaseModel
from tokenizers import Tokenizer  # type: ignore[import-untyped]

options = ort.SessionOptions()
options.intra_op_num_threads = 1
options.inter_op_num_threads = 1
session = ort.InferenceSession(os.environ["PEER_GRAPH"], options, providers=["CPUExecutionProvider"])
input_names = [spec.name for spec in session.get_inputs()]
tokenizer = Tokenizer.from_file(os.environ["PEER_TOKENIZER"])
tokenizer.no_padding()
tokenizer.enable_truncation(int(os.environ["PEER_MAX_TOKENS"]))
pool = ThreadPoolExecutor(int(os.environ["PEER_THREADS"]))
app = FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False})


class EmbeddingRequest(BaseModel):
    """One text, in the fields that the façade takes."""

    input: str
    model: str = "minilm"
    encoding_format: str = "base64"


def encode(text: str) -> tuple[bytes, int]:
    """Tokenize and run one text; return its vector as float32 bytes and its number of tokens."""
    encoding = tokenizer.encode(text)
    arrays = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    feed = {name: np.array([arrays[name]], dtype=np.int64) for name in input_names}
    vectors = session.run(["sentence_embedding"], feed)[0]
    return vectors[0].astype("<f4").tobytes(), len(encoding.ids)


@app.post("/v1/embeddings")
async def create_embedding(request: EmbeddingRequest) -> Response:
    """Answer as OpenAI does."""
    vector, tokens = await asyncio.get_running_loop().run_in_executor(pool, encode, request.input)
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": b64encode(vector).decode("ascii")}],
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return Response(orjson.dumps(body), media_type="application/json")


@app.get("/health")
async def tell_health() -> dict[str, bool]:
    """Say that it runs."""
    return {"ok": True}
