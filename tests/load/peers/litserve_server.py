"""
The peer LitServe: its own dynamic batching in front of as many workers as there are cores.

Settings after its documentation on batching and autoscaling; ``fast_queue`` is its switch for high throughput.
"""

from __future__ import annotations

import os
from typing import Any

import litserve

from tests.load.peers.graph import Graph, read_texts, to_answer


class EmbeddingApi(litserve.LitAPI):
    """Texts to vectors."""

    def setup(self, device: str) -> None:
        """Load the model, once in each worker."""
        self.graph = Graph()

    def decode_request(self, request) -> list[str]:  # type: ignore[no-untyped-def] # noqa: ANN001 # LitServe reads types
        """Take the texts out of a request."""
        return read_texts(request)

    def batch(self, inputs: list[list[str]]) -> list[list[str]]:
        """Keep requests apart; `predict` puts their texts into one run."""
        return inputs

    def predict(self, lists: list[list[str]]) -> list[Any]:
        """Run the model."""
        return self.graph.encode_lists(lists)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Part the vectors again: they are by request already."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Write an answer."""
        return to_answer(output)


def main() -> None:
    """Serve until SIGTERM."""
    api = EmbeddingApi(
        max_batch_size=int(os.environ["PEER_BATCH"]),
        batch_timeout=float(os.environ["PEER_WAIT_MS"]) / 1000,
        api_path="/v1/embeddings",
    )
    server = litserve.LitServer(
        api,
        accelerator="cpu",
        devices=1,
        workers_per_device=int(os.environ["PEER_WORKERS"]),
        timeout=60,
        fast_queue=os.environ["PEER_FAST_QUEUE"] == "1",
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PEER_PORT"]),
        num_api_servers=int(os.environ["PEER_SERVERS"]),
        log_level="warning",
        generate_client_file=False,
    )


if __name__ == "__main__":
    main()
