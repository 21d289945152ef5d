"""
How servers are asked for vectors, and how their answers are read: the façade's and each peer's own HTTP API.

Vectors travel in the cheapest form that the server's own API has, so that nobody is slow by writing decimal numbers.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True)
class Dialect:
    """One API."""

    path: str
    """Route of the POST; ``{model}`` stands for the model's name."""

    write: Callable[[str, Sequence[str]], Any]
    """Makes the JSON body of a request for a model and texts."""

    read: Callable[[bytes, bytes], list[bytes]]
    """Takes an answer's head and body apart: little-endian float32 vectors, one a text."""

    def request_path(self, model: str) -> str:
        """Tell the route for a model."""
        return self.path.format(model=model)

    def body(self, model: str, texts: Sequence[str]) -> bytes:
        """Write the body of a request, in ASCII."""
        return json.dumps(self.write(model, texts)).encode("ascii")


def _write_openai(model: str, texts: Sequence[str]) -> Any:
    # One text as a string, as most clients send it.
    return {
        "model": model,
        "input": texts[0] if len(texts) == 1 else list(texts),
        "encoding_format": "base64",
    }


def _read_openai(_head: bytes, body: bytes) -> list[bytes]:
    return [base64.b64decode(item["embedding"]) for item in json.loads(body)["data"]]


def _write_texts(_model: str, texts: Sequence[str]) -> Any:
    return {"texts": list(texts)}


def _read_texts(_head: bytes, body: bytes) -> list[bytes]:
    return [base64.b64decode(encoded) for encoded in json.loads(body)]


def _write_v2(_model: str, texts: Sequence[str]) -> Any:
    return {"inputs": [_bytes_input([len(texts)], texts)]}


def _read_v2(_head: bytes, body: bytes) -> list[bytes]:
    return [base64.b64decode(encoded) for encoded in json.loads(body)["outputs"][0]["data"]]


def _write_triton(_model: str, texts: Sequence[str]) -> Any:
    output = {"name": "embedding", "parameters": {"binary_data": True}}
    return {"inputs": [_bytes_input([len(texts), 1], texts)], "outputs": [output]}


def _read_triton(head: bytes, body: bytes) -> list[bytes]:
    """Read tensors behind the JSON, as the binary tensor extension of the protocol has them."""
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"inference-header-content-length":
            rows, width = json.loads(body[: int(value)])["outputs"][0]["shape"]
            raw = body[int(value) :]
            return [raw[row * width * 4 : (row + 1) * width * 4] for row in range(rows)]
    raise ValueError("an answer without Inference-Header-Content-Length")


def _bytes_input(shape: list[int], texts: Sequence[str]) -> dict[str, Any]:
    return {"name": "text", "shape": shape, "datatype": "BYTES", "data": list(texts)}


DIALECTS = {
    "openai": Dialect("/v1/embeddings", _write_openai, _read_openai),
    "texts": Dialect("/embed", _write_texts, _read_texts),
    "v2": Dialect("/v2/models/{model}/infer", _write_v2, _read_v2),
    "triton": Dialect("/v2/models/{model}/infer", _write_triton, _read_triton),
}
"""APIs by name: OpenAI's, BentoML's (a function's arguments), MLServer's, and Triton's with its binary extension."""
