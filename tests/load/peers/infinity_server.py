"""
The peer infinity: its queue, which sorts what waits by length, and its batches in front of replicas of the model.

Its own ONNX engine takes graphs that give token embeddings and pools them in NumPy; the exported file pools inside. So
the same file runs in a subclass of its embedder, which spares it that work. Run it by uvicorn, with a
worker a core: two replicas in one process never answered on two cores, where its thread pool has six threads and each
replica takes three.
"""

from __future__ import annotations

import importlib
import os
from types import SimpleNamespace
from typing import Any

from infinity_emb import EngineArgs, create_server
from infinity_emb.primitives import LoadingStrategy
from infinity_emb.transformer.abstract import BaseEmbedder

from tests.load.peers.graph import Graph


class GraphEmbedder(BaseEmbedder):
    """Texts to vectors, in the three steps that infinity runs side by side."""

    def __init__(self, *, engine_args: EngineArgs) -> None:
        self.graph = Graph()

    def encode_pre(self, sentences: list[str]) -> dict[str, Any]:
        """Tokenize."""
        return self.graph.prepare(sentences)

    def encode_core(self, features: dict[str, Any]) -> Any:
        """Run the model."""
        return self.graph.run(features)

    def encode_post(self, embedding: Any) -> Any:
        """Nothing is left to do: pooling and normalizing are in the graph."""
        return embedding

    def tokenize_lengths(self, sentences: list[str]) -> list[int]:
        """Count characters, as infinity does by default."""
        return [len(sentence) for sentence in sentences]


# The package has a function of the module's name.
select_model = importlib.import_module("infinity_emb.inference.select_model")
select_model.get_engine_type_from_config = lambda _arguments: SimpleNamespace(value=GraphEmbedder)

app = create_server(
    engine_args_list=[
        EngineArgs(
            model_name_or_path=os.environ["PEER_MODEL"],
            served_model_name="minilm",
            engine="debugengine",  # what is checked before the embedder is chosen: it asks for no PyTorch
            device="cpu",
            batch_size=int(os.environ["PEER_BATCH"]),
            _loading_strategy=LoadingStrategy(
                device_mapping=["cpu"],
                loading_dtype=None,
                quantization_dtype=None,
            ),
        )
    ],
    url_prefix="/v1",
)
