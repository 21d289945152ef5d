"""
A stand-in at the wire for what a real Triton can't be told to do: stall, fail on one text, vanish, come back.

It speaks the V2 protocol over a real gRPC socket, so the whole client is under test; the end-to-end tests use the real
server. A text's vector is made from its bytes alone, so that a mix-up of answers shows.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import struct
from typing import Any

import grpc
import grpc.aio
import numpy as np
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)

from tests.facade.wire_generation import WireGeneration

DIMENSION = 8
MAX_INPUT_TOKENS = 16


def vector_of(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Make the vector that belongs to a text: unit length, different for different texts."""
    digest = hashlib.sha256(text.encode()).digest()[: 4 * DIMENSION]
    raw = np.frombuffer(digest, dtype="<u4").astype("<f4") / 2**32 - 0.5
    return (raw / np.linalg.norm(raw)).astype("<f4")


def scores_of(text: str, labels: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Make the scores that belong to a text: between 0 and 1, different for different texts."""
    return np.abs(vector_of(text)[:labels])


def score_of(query: str, document: str) -> float:
    """Make the score that belongs to a pair."""
    return float(vector_of(f"{query}|{document}")[0])


def count_tokens(text: str) -> int:
    """Count a text's tokens: its words and two special ones."""
    return len(text.split()) + 2


class WireTriton(WireGeneration, GRPCInferenceServiceServicer):
    """One model ``minilm`` (task embedding) with versions 1 and 2, and one without a card."""

    def __init__(self) -> None:
        super().__init__()
        self.models: dict[str, dict[str, Any]] = {
            "minilm": {
                "versions": [1],
                "max_batch_size": 16,
                "card": {
                    "task": "embedding",
                    "dimension": DIMENSION,
                    "max_input_tokens": MAX_INPUT_TOKENS,
                    "release": {"stable": 1},
                },
            },
            "minilm_core": {"versions": [1], "max_batch_size": 16, "card": None},
        }
        self.batches: list[list[str]] = []
        self.versions_asked: list[str] = []
        self.metadata: list[dict[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.reached = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.config_failure: tuple[grpc.StatusCode, str] | None = None
        self.thawed = asyncio.Event()
        """Cleared, nothing is answered, as by a process that was stopped."""
        self.thawed.set()
        self.probes = 0
        """Times that somebody asked whether it lives."""
        self.failed: dict[str, str] = {}
        """Models that couldn't be loaded, and why."""
        self.is_ready = True
        self.poison = "poison"
        self.port = 0
        self._server: grpc.aio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen; on the same port again after `stop`."""
        self._server = grpc.aio.server()
        add_GRPCInferenceServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        await self._server.start()

    async def stop(self) -> None:
        """Vanish: calls under way are broken off."""
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def ServerLive(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Say that it lives."""
        self.probes += 1
        await self.thawed.wait()
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Say whether all models are ready."""
        return pb.ServerReadyResponse(ready=self.is_ready)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Say who it is."""
        return pb.ServerMetadataResponse(name="triton", version="2.51.0", extensions=["model_repository"])

    async def RepositoryIndex(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """List versions that are ready."""
        await self.thawed.wait()
        response = pb.RepositoryIndexResponse()
        for name, model in self.models.items():
            for version in model["versions"]:
                response.models.add(name=name, version=str(version), state="READY")
        for name, reason in self.failed.items():
            response.models.add(name=name, version="1", state="UNAVAILABLE", reason=reason)
        return response

    async def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Give one model's config."""
        if self.config_failure is not None:
            await context.abort(*self.config_failure)
        model = self.models[request.name]
        response = pb.ModelConfigResponse()
        response.config.name = request.name
        response.config.max_batch_size = model["max_batch_size"]
        response.config.model_transaction_policy.decoupled = model.get("decoupled", False)
        for name in model.get("inputs", ()):
            response.config.input.add(name=name)
        if model["card"] is not None:
            card = model["card"] if isinstance(model["card"], str) else json.dumps(model["card"])
            response.config.parameters["model_card"].string_value = card
        return response

    async def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802  # the protocol's name
        """Answer each text with its own vector."""
        texts = _read_texts(request.raw_input_contents[0])
        self.batches.append(texts)
        self.versions_asked.append(request.model_version)
        self.metadata.append({str(name): str(value) for name, value in context.invocation_metadata()})
        self.reached.set()
        try:
            await self.gate.wait()
            await self.thawed.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.failure is not None:
            await context.abort(*self.failure)
        if request.model_version and int(request.model_version) not in self._versions(request):
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                f"Request for unknown model: 'minilm' version {request.model_version} is not at ready state",
            )
        if any(self.poison in text for text in texts):
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "one text is poison")
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        for name, datatype, width, raw in self._answer(request, texts):
            response.outputs.add(name=name, datatype=datatype, shape=[len(texts), width])
            response.raw_output_contents.append(raw)
        return response

    def _versions(self, request: Any) -> list[int]:
        """List the versions of the model that is asked."""
        versions: list[int] = self.models[request.model_name]["versions"]
        return versions

    def _answer(self, request: Any, texts: list[str]) -> list[tuple[str, str, int, bytes]]:
        """Give each output's name, datatype, width and content, as the model's task has it."""
        card = self.models[request.model_name]["card"]
        task = card["task"] if isinstance(card, dict) else "embedding"
        if task == "image-classification":
            rows = [scores_of(text, len(card["labels"])) for text in texts]
            return [("scores", "FP32", len(card["labels"]), b"".join(row.tobytes() for row in rows))]
        counts = [count_tokens(text) for text in texts]
        if task == "text-classification":
            name, width = "scores", len(card["labels"])
            rows = [scores_of(text, width) for text in texts]
        elif task == "reranking":
            documents = _read_texts(request.raw_input_contents[1])
            name, width = "score", 1
            pairs = zip(texts, documents, strict=True)
            rows = [np.array([score_of(query, document)], dtype="<f4") for query, document in pairs]
        else:
            name, width, rows = "embedding", DIMENSION, [vector_of(text) for text in texts]
        return [
            (name, "FP32", width, b"".join(row.tobytes() for row in rows)),
            ("num_input_tokens", "UINT32", 1, struct.pack(f"<{len(counts)}I", *counts)),
        ]


def _read_texts(raw: bytes) -> list[str]:
    texts, at = [], 0
    while at < len(raw):
        (length,) = struct.unpack_from("<I", raw, at)
        texts.append(raw[at + 4 : at + 4 + length].decode())
        at += 4 + length
    return texts
