"""
The exported model as a user of any server would run it: one file, one tokenizer, one onnxruntime session.

It is imported by the peers' servers, each in an environment of its own, so it needs onnxruntime, tokenizers and NumPy
alone. A batch is padded to its longest text, which is what the servers' own examples do.
"""

from __future__ import annotations

import os
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Sequence


class Graph:
    """A session of one thread, as ``PEER_GRAPH``, ``PEER_TOKENIZER`` and ``PEER_MAX_TOKENS`` say."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        graph = os.environ["PEER_GRAPH"]
        self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._inputs = [spec.name for spec in self._session.get_inputs()]
        self._tokenizer = Tokenizer.from_file(os.environ["PEER_TOKENIZER"])
        self._tokenizer.enable_truncation(int(os.environ["PEER_MAX_TOKENS"]))
        self._tokenizer.enable_padding()

    def encode(self, texts: Sequence[str]) -> Any:
        """
        Encode texts in one run.

        Args:
            texts: At least one.

        Returns:
            float32 array of shape (len(texts), hidden_size), rows of length 1.
        """
        return self.run(self.prepare(texts))

    def prepare(self, texts: Sequence[str]) -> dict[str, Any]:
        """
        Tokenize texts and pad them to the longest.

        Args:
            texts: At least one.

        Returns:
            int64 arrays of shape (len(texts), sequence_length) by the graph's input.
        """
        encodings = self._tokenizer.encode_batch(list(texts))
        arrays = {
            "input_ids": [encoding.ids for encoding in encodings],
            "attention_mask": [encoding.attention_mask for encoding in encodings],
            "token_type_ids": [encoding.type_ids for encoding in encodings],
        }
        return {name: np.array(arrays[name], dtype=np.int64) for name in self._inputs}

    def run(self, feed: dict[str, Any]) -> Any:
        """
        Run the graph once.

        Args:
            feed: What `prepare` made.

        Returns:
            float32 array of shape (batch_size, hidden_size), rows of length 1.
        """
        return self._session.run(["sentence_embedding"], feed)[0]

    def encode_lists(self, lists: Sequence[Sequence[str]]) -> list[Any]:
        """
        Encode the texts of several requests in one run.

        Args:
            lists: Texts by request.

        Returns:
            Their vectors by request, each of shape (texts, hidden_size).
        """
        vectors = self.encode([text for texts in lists for text in texts])
        ends = np.cumsum([len(texts) for texts in lists])[:-1]
        return list(np.split(vectors, ends))


def read_texts(body: dict[str, Any]) -> list[str]:
    """Read the texts out of an OpenAI embeddings request."""
    texts = body["input"]
    return [texts] if isinstance(texts, str) else texts


def to_base64(vectors: Any) -> list[str]:
    """Write vectors as OpenAI's API does with ``encoding_format`` base64."""
    return [b64encode(vector.astype("<f4").tobytes()).decode("ascii") for vector in vectors]


def to_answer(vectors: Any) -> dict[str, Any]:
    """Write the body of an OpenAI embeddings answer, with as little as its clients need."""
    return {
        "object": "list",
        "model": "minilm",
        "data": [
            {"object": "embedding", "index": index, "embedding": encoded}
            for index, encoded in enumerate(to_base64(vectors))
        ],
    }
