"""
The tensor contract of the tasks whose answer is one row of numbers an item; pure.

A door takes BYTES of shape (batch, 1) and gives float32 of shape (batch, width), and where it reads text the number
of its tokens. An item is one byte string here, whatever it is made of: that is what is cached and merged.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from facade.errors import BackendFailed
from facade.triton.codec import to_bytes_tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from facade.triton.interface import Tensor

COUNT_OUTPUT = "num_input_tokens"

_COUNT = struct.Struct("<I")


class Answer(NamedTuple):
    """One item's answer."""

    values: bytes
    """float32, little-endian, of shape (width,): a vector, the scores of all labels, or one score."""

    num_input_tokens: int
    """Tokens of the whole item, special tokens included, before any truncation; 0 for what isn't text."""

    def to_bytes(self) -> bytes:
        """Write it for the cache: the count in four bytes, then the values."""
        return _COUNT.pack(self.num_input_tokens) + self.values

    @classmethod
    def from_bytes(cls, stored: bytes) -> Answer:
        """Read what `to_bytes` wrote."""
        return cls(stored[4:], _COUNT.unpack_from(stored)[0])


@dataclass(frozen=True, slots=True)
class TensorContract:
    """What one task's door takes and gives."""

    to_inputs: Callable[[Sequence[bytes]], list[Tensor]]
    """Writes items as the door's inputs."""

    values_output: str
    """Name of the float32 output."""

    counts_tokens: bool = True
    """Whether the door says how many tokens an item had."""

    call_bytes: int = 256 * 1024
    """Where a merged call counts as full, so that huge items travel nearly alone and hold up few others."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs to ask for."""
        return (self.values_output, COUNT_OUTPUT) if self.counts_tokens else (self.values_output,)

    def read(self, model_name: str, outputs: Mapping[str, Tensor], size: int) -> list[bytes]:
        """
        Take a batch's answer apart.

        Args:
            model_name: Who answered, for the error's message.

            outputs: What came back.

            size: Items in the batch.

        Returns:
            An `Answer` an item, as bytes.

        Raises:
            BackendFailed: If the tensors don't have a row an item.
        """
        values, counts = outputs.get(self.values_output), outputs.get(COUNT_OUTPUT)
        tokens = [0] * size
        is_whole = values is not None and bool(values.raw) and len(values.raw) % (4 * size) == 0
        if self.counts_tokens:
            is_whole = is_whole and counts is not None and len(counts.raw) == 4 * size
            tokens = (
                np.frombuffer(counts.raw, dtype="<u4").tolist() if counts is not None and is_whole else tokens
            )
        if values is None or not is_whole:
            raise BackendFailed(f"The model {model_name!r} does not keep to its task's tensor contract.")
        width, raw = len(values.raw) // size, values.raw
        return [Answer(raw[i * width : (i + 1) * width], tokens[i]).to_bytes() for i in range(size)]


def pack_pair(query: bytes, document: bytes) -> bytes:
    """Make one item of a query and a document: the query behind its length, then the document."""
    return _COUNT.pack(len(query)) + query + document


def unpack_pair(item: bytes) -> tuple[bytes, bytes]:
    """Read what `pack_pair` wrote."""
    end = 4 + int(_COUNT.unpack_from(item)[0])
    return item[4:end], item[end:]


def _to_pairs(items: Sequence[bytes]) -> list[Tensor]:
    pairs = [unpack_pair(item) for item in items]
    return [
        to_bytes_tensor("query", [query for query, _ in pairs]),
        to_bytes_tensor("document", [document for _, document in pairs]),
    ]


CONTRACTS: Mapping[str, TensorContract] = {
    "embedding": TensorContract(lambda items: [to_bytes_tensor("text", items)], "embedding"),
    "text-classification": TensorContract(lambda items: [to_bytes_tensor("text", items)], "scores"),
    "reranking": TensorContract(_to_pairs, "score"),
    "image-classification": TensorContract(
        lambda items: [to_bytes_tensor("image", items)],
        "scores",
        counts_tokens=False,
        call_bytes=8 * 1024 * 1024,
    ),
}
"""By the model card's task."""
