"""Texts to send, and what the original model says to each: an answer that differs is wrong, whoever gave it."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

WORDS = (
    "the",
    "cat",
    "sat",
    "on",
    "mat",
    "while",
    "other",
    "cats",
    "looked",
    "at",
    "it",
    "from",
    "tree",
    "a",
    "table",
)
TEXTS = 2000
HOT_TEXTS = 40
"""So many of them are sent again and again, and are answered by the cache."""

HOT_SHARE = 0.5
LEAST_COSINE = 0.9999


class Truth(NamedTuple):
    """What may be sent, and what has to come back."""

    texts: list[str]
    """All different."""

    vectors: npt.NDArray[np.float32]
    """float32 array of shape (texts, dimension), of unit length."""

    def is_right(self, index: int, vector: bytes) -> bool:
        """
        Compare an answer with the original's.

        Args:
            index: Of the text.

            vector: Little-endian float32.

        Returns:
            Whether it is that text's vector.
        """
        given = np.frombuffer(vector, dtype="<f4")
        return given.shape == self.vectors[index].shape and float(given @ self.vectors[index]) > LEAST_COSINE


def make_truth(model: Path, seed: int) -> Truth:
    """
    Draw texts and have PyTorch encode them.

    Args:
        model: The original's folder.

        seed: Fixes the texts.

    Returns:
        Texts and vectors.
    """
    from export.from_hub import find_model  # noqa: PLC0415  # seconds of imports
    from export.options import ExportOptions  # noqa: PLC0415
    from export.original import load_original  # noqa: PLC0415

    source = random.Random(seed)
    texts: dict[str, None] = {}
    while len(texts) < TEXTS:
        texts[" ".join(source.choices(WORDS, k=source.randint(3, 8)))] = None
    found = find_model(ExportOptions(model=str(model), name="tiny", repository=model))
    vectors = np.asarray(load_original(found).encode(list(texts)), dtype=np.float32)
    return Truth(list(texts), vectors)


def draw_text(source: random.Random) -> int:
    """
    Choose the next text: one of the few that everybody sends, or any.

    Args:
        source: Where randomness comes from.

    Returns:
        Its index.
    """
    return source.randrange(HOT_TEXTS if source.random() < HOT_SHARE else TEXTS)
