"""
Whether contenders answer alike: a peer that is fast and wrong is no peer.

Texts of mixed lengths are sent all at once, so that servers merge them, and a vector that was given to the wrong
request is noticed too.
"""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from tests.load.client import AnswerUnreadable, Connection, make_request
from tests.load.dialects import DIALECTS
from tests.load.measure import BenchFailed
from tests.load.texts import make_texts, read_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from tests.load.measure import Contender

TEXTS = 32
LEAST_COSINE = 0.999
"""The same graph in fp32 differs by rounding alone."""

LEAST_COSINE_INT8 = 0.98
"""What an export in 8 bits has to keep."""

TIMEOUT_S = 60.0


def check_truth(
    contenders: Sequence[Contender], tokenizer_file: Path, least_cosine: float = LEAST_COSINE
) -> float:
    """
    Ask all contenders the same and compare their vectors with the first one's.

    Args:
        contenders: At least one; those that speak gRPC are passed over.

        tokenizer_file: Where words come from.

        least_cosine: How alike is alike enough.

    Returns:
        The smallest cosine that was found.

    Raises:
        BenchFailed: If one of them answers otherwise.
    """
    texts = list(islice(make_texts(read_words(tokenizer_file), "log-normal", "truth", "all"), TEXTS))
    found: dict[str, NDArray[np.float32]] = {}
    for contender in contenders:
        if contender.protocol == "http" and contender.address not in found:
            found[contender.address] = asyncio.run(_ask(contender, texts))
    reference = next(iter(found.values()))
    least = 1.0
    for contender in contenders:
        if contender.address in found:
            cosine = float(least_cosine_of(reference, found[contender.address]))
            if cosine < least_cosine:
                raise BenchFailed(
                    f"{contender.name} answers wrongly: cosine {cosine:.4f} to {contenders[0].name}'s"
                )
            least = min(least, cosine)
    return least


def least_cosine_of(some: NDArray[np.float32], others: NDArray[np.float32]) -> float:
    """
    Compare vectors in pairs.

    Args:
        some: Array of shape (texts, hidden_size), rows of length 1.

        others: The same.

    Returns:
        The cosine of the pair that is least alike.
    """
    return float(np.min(np.sum(some * others, axis=1)))


async def _ask(contender: Contender, texts: Sequence[str]) -> NDArray[np.float32]:
    try:
        async with asyncio.timeout(TIMEOUT_S):
            rows = await asyncio.gather(*(_ask_one(contender, text) for text in texts))
    except (TimeoutError, AnswerUnreadable) as error:
        raise BenchFailed(f"{contender.name} doesn't answer: {error or 'too slow'}") from error
    return np.stack(rows)


async def _ask_one(contender: Contender, text: str) -> NDArray[np.float32]:
    host, port = contender.address.rsplit(":", 1)
    dialect = DIALECTS[contender.dialect]
    path, body = dialect.request_path(contender.model), dialect.body(contender.model, [text])
    connection = await Connection.open(host, int(port))
    answer = await connection.exchange(make_request(contender.address, path, contender.headers, body))
    connection.close()
    if answer.status != 200:
        raise BenchFailed(f"{contender.name}: {answer.status}: {answer.body[:300]!r}")
    return np.frombuffer(dialect.read(connection.head, answer.body)[0], dtype="<f4")
