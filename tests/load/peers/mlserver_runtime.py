"""
The peer MLServer: a custom runtime with adaptive batching, inferred by as many parallel workers as serve it best.

Run as a program it writes settings.json and model-settings.json after its documentation, and becomes ``mlserver
start``. Vectors travel as base64 by its own codec, which is the cheapest that its HTTP API has.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mlserver import MLModel
from mlserver.codecs import Base64Codec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse

from tests.load.peers.graph import Graph


class Runtime(MLModel):
    """Texts to vectors."""

    async def load(self) -> bool:
        """Load the model, once in each worker."""
        self.graph = Graph()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Run the model on a batch that MLServer merged."""
        vectors = self.graph.encode(StringCodec.decode_input(payload.inputs[0]))
        encoded = Base64Codec.encode_output(
            "embedding", [vector.tobytes() for vector in vectors], use_bytes=False
        )
        return InferenceResponse(model_name=self.name, outputs=[encoded])


def main() -> None:
    """Write the settings and become the server."""
    folder = Path(os.environ["PEER_FOLDER"])
    settings = {
        "host": "127.0.0.1",
        "http_port": int(os.environ["PEER_PORT"]),
        "grpc_port": int(os.environ["PEER_PORT_2"]),
        "metrics_port": int(os.environ["PEER_PORT_3"]),
        "parallel_workers": int(os.environ["PEER_WORKERS"]),
        "debug": False,
    }
    model = {
        "name": "minilm",
        "implementation": "tests.load.peers.mlserver_runtime.Runtime",
        "max_batch_size": int(os.environ["PEER_BATCH"]),
        "max_batch_time": float(os.environ["PEER_WAIT_MS"]) / 1000,
    }
    (folder / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    (folder / "model-settings.json").write_text(json.dumps(model), encoding="utf-8")
    program = str(Path(sys.executable).with_name("mlserver"))
    os.execv(program, [program, "start", str(folder)])  # noqa: S606  # its own command, in its own environment


if __name__ == "__main__":
    main()
