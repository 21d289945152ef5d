"""
The peer Ray Serve: replicas that batch by its own decorator.

Settings after its guides on dynamic request batching and performance tuning.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

import orjson
import ray
from ray import serve
from starlette.requests import Request  # noqa: TC002  # Ray looks at the annotation
from starlette.responses import Response

from tests.load.peers.graph import Graph, read_texts, to_answer

BATCH, WAIT_S = int(os.environ["PEER_BATCH"]), float(os.environ["PEER_WAIT_MS"]) / 1000


@serve.deployment(
    num_replicas=int(os.environ["PEER_WORKERS"]), ray_actor_options={"num_cpus": 1}, max_ongoing_requests=256
)
class Embedder:
    """Texts to vectors."""

    def __init__(self) -> None:
        self.graph = Graph()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=WAIT_S)
    async def encode(self, lists: list[list[str]]) -> list[Any]:
        """Run the model on the texts of one or more requests."""
        return self.graph.encode_lists(lists)

    async def __call__(self, request: Request) -> Response:
        """Answer as OpenAI does."""
        if request.method == "GET":
            return Response(b"ok")
        vectors = await self.encode(read_texts(orjson.loads(await request.body())))
        return Response(orjson.dumps(to_answer(vectors)), media_type="application/json")


def main() -> None:
    """Serve until SIGTERM."""
    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    ray.init(
        num_cpus=int(os.environ["PEER_WORKERS"]) + 1,
        include_dashboard=False,
        log_to_driver=False,
        _temp_dir=os.environ["PEER_FOLDER"],
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PEER_PORT"])})
    serve.run(Embedder.bind(), route_prefix="/")
    over.wait()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
