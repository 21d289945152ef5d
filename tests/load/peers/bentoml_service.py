"""
The peer BentoML: adaptive batching in as many workers as there are cores.

Settings after its documentation on adaptive batching and workers. ``max_latency_ms`` is a bound above which it refuses
with 503, not a time to wait; it is set where it refuses nothing in a closed loop.
"""

from __future__ import annotations

import os

import bentoml

from tests.load.peers.graph import Graph, to_base64


@bentoml.service(
    workers=int(os.environ["PEER_WORKERS"]),
    traffic={"timeout": 60},
    logging={"access": {"enabled": False}},
)
class Embedder:
    """Texts to vectors."""

    def __init__(self) -> None:
        self.graph = Graph()

    @bentoml.api(
        batchable=True,
        route="/embed",
        max_batch_size=int(os.environ["PEER_BATCH"]),
        max_latency_ms=int(os.environ["PEER_LATENCY_MS"]),
    )
    def embed(self, texts: list[str]) -> list[str]:
        """Run the model on the texts of one or more requests."""
        return to_base64(self.graph.encode(texts))
