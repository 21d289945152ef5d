"""What is served while it grows: all-MiniLM-L6-v2 for texts of up to 512 tokens, its first layer alone, a tiny one."""

from __future__ import annotations

import hashlib
import itertools
import json
import random
import shutil
from typing import TYPE_CHECKING

from tests.load.client import make_request
from tests.load.machine import CHECKOUT
from tests.load.texts import read_words
from tests.stack import KEY, MODEL_NAME, export_folder, find_model_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

WHOLE, SHALLOW, TINY = "whole", "shallow", "tiny"
"""
Folders of the exported models, each of which is called `MODEL_NAME` there, so that one kind of stage serves all.

The whole MiniLM; its first layer, whose tokens cost a sixth and whose answers are as large, so that what is around the
model shows; and a toy of 32 components, of which twenty fit into a small machine.
"""

MAX_TOKENS = 512
"""What the model's position embeddings allow; its own package cuts at 256."""

DIMENSIONS = {WHOLE: 384, SHALLOW: 384, TINY: 32}
"""Components of an answer."""

PATH = "/v1/embeddings"
LEADING_WORDS = 5
"""Words that tell texts apart; a toy's vocabulary of a dozen words gives a hundred thousand texts."""

SPECIAL_TOKENS = 2
"""[CLS] and [SEP]: a text of n whole words has n + 2 tokens."""


def export_models(folder: Path, names: Sequence[str]) -> Path:
    """
    Export what isn't there yet, each into a repository of its own.

    Args:
        folder: Gets a folder for this state of the export's code, and in it one repository a model; what is there is
            kept.

        names: Some of `DIMENSIONS`.

    Returns:
        The folder for this state of the code.
    """
    folder = folder / _hash_export()
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if not (folder / name / MODEL_NAME / "config.pbtxt").exists():
            source = folder / f"{name}-source"
            shutil.rmtree(source, ignore_errors=True)
            export_folder(_make_source(name, source), MODEL_NAME, folder / name)
            shutil.rmtree(source)
    return folder


def _hash_export() -> str:
    """Tell states of the export's code apart, the door's included: a model that another one exported is not ours."""
    digest = hashlib.sha256()
    for file in sorted((CHECKOUT / "export").rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def _make_source(name: str, folder: Path) -> Path:
    """Write the model as sentence-transformers keeps it."""
    folder.mkdir(parents=True)
    if name == TINY:
        # Imported here: they take seconds, and a run with exported models needs none of them.
        from tests.export.tiny_model import make_tiny_model  # noqa: PLC0415

        return make_tiny_model(folder)
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    model = SentenceTransformer(str(find_model_folder()), device="cpu")
    model.max_seq_length = MAX_TOKENS
    if name == SHALLOW:
        transformer = model[0].auto_model
        transformer.encoder.layer = transformer.encoder.layer[:1]
        transformer.config.num_hidden_layers = 1
    model.save(str(folder / "model"))
    return folder / "model"


def read_vocabulary(tokenizer_file: Path) -> list[str]:
    """
    Read the words that texts are made of.

    Args:
        tokenizer_file: An exported tokenizer.json.

    Returns:
        Whole words of its vocabulary, in an order that is the same each time.
    """
    words = read_words(tokenizer_file)
    random.Random("growth").shuffle(words)
    return words


def make_texts(words: Sequence[str], tokens: int, start: int = 0) -> Iterator[str]:
    """
    Make texts of one length, no two alike as long as the words last.

    Args:
        words: What they are made of.

        tokens: Length, special tokens included; at least 3.

        start: Number of the first text, so that two makers share none.

    Yields:
        One text at a time; cheap, so that the load costs little beside what it loads.
    """
    count = tokens - SPECIAL_TOKENS
    lead = min(count, LEADING_WORDS)
    tail = list(itertools.islice(itertools.cycle(words), count - lead))
    base = len(words)
    for number in itertools.count(start):
        digits = (number // base**place % base for place in range(lead))
        yield " ".join([*(words[digit] for digit in digits), *tail])


def make_requests(
    address: str, model: str, texts: Iterator[str], texts_a_request: int = 1, key: str = KEY
) -> Iterator[bytes]:
    """
    Write embeddings requests.

    Args:
        address: ``host:port``, for the Host header.

        model: Who is asked.

        texts: What is sent.

        texts_a_request: How many go together.

        key: The caller's.

    Yields:
        Whole requests.
    """
    headers = {"authorization": f"Bearer {key}"}
    while True:
        some = list(itertools.islice(texts, texts_a_request))
        wanted = some if texts_a_request > 1 else some[0]
        body = json.dumps({"model": model, "input": wanted, "encoding_format": "base64", "truncate": True})
        yield make_request(address, PATH, headers, body.encode("ascii"))


def least_bytes(model: str, texts: int) -> int:
    """
    Tell what a right answer has at least.

    Args:
        model: One of `DIMENSIONS`.

        texts: In the request.

    Returns:
        Bytes of its vectors in base64.
    """
    return texts * DIMENSIONS[model] * 4 * 4 // 3
