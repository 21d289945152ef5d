"""
How fast graphs run on this machine, measured side by side: every round runs each of them, every other round backwards.

Ratios between graphs of one run mean something; the figures themselves belong to this machine and its load.
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime

from export.artifacts import BatchSpeed, Speed, TensorSpec

ROUNDS = 5
"""Rounds of which the median counts; the first one more, which warms up, doesn't."""

SHAPES = ((1, 16), (8, 32), (4, 128))
"""Rows and tokens of the batches in a round: one short text, and groups of 256 and 512 padded tokens."""

Feed = dict[str, npt.NDArray[Any]]


def make_feeds(
    inputs: Sequence[TensorSpec], max_tokens: int, shapes: Sequence[tuple[int, int]] = SHAPES
) -> list[Feed]:
    """
    Make the batches of a round.

    Args:
        inputs: The graphs' inputs, without the batch.

        max_tokens: Tokens that the model takes at most; 0 for images.

        shapes: Rows and tokens of the batches.

    Returns:
        One feed for each batch: masks of ones, other integers zero (always a valid id), floats zero.
    """
    feeds: list[Feed] = []
    for rows, tokens in shapes:
        length = min(tokens, max_tokens) if max_tokens else 1
        feed: Feed = {}
        for spec in inputs:
            shape = (rows, *(length if size < 0 else size for size in spec.dims))
            datatype = np.int64 if spec.datatype == "INT64" else np.float32
            feed[spec.name] = np.full(shape, spec.name == "attention_mask", dtype=datatype)
        feeds.append(feed)
    return feeds


def measure_speeds(
    graphs: Mapping[str, Path], feeds: Sequence[Feed], threads: int, rounds: int = ROUNDS
) -> dict[str, Speed]:
    """
    Run graphs in turns on this machine's CPU.

    Args:
        graphs: The graphs' files by name.

        feeds: The batches that each runs in each round.

        threads: Threads in one operator, as the core will have them.

        rounds: How many rounds count.

    Returns:
        Each graph's speed.
    """
    sessions = {name: _open(path, threads) for name, path in graphs.items()}
    taken: dict[str, list[list[float]]] = {name: [] for name in graphs}
    for turn in range(rounds + 1):
        names = list(sessions) if turn % 2 else list(reversed(sessions))
        for name in names:
            seconds = [_time(sessions[name], feed) for feed in feeds]
            if turn:
                taken[name].append(seconds)
    return {name: _sum_up(feeds, found) for name, found in taken.items()}


def _time(session: Any, feed: Feed) -> float:
    """Seconds that one run takes."""
    started = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - started


def _sum_up(feeds: Sequence[Feed], taken: Sequence[Sequence[float]]) -> Speed:
    """Make a graph's speed of the seconds by round and batch."""
    rows = sum(len(next(iter(feed.values()))) for feed in feeds)
    speeds = [rows / sum(seconds) for seconds in taken]
    batches = []
    for feed, seconds in zip(feeds, zip(*taken, strict=True), strict=True):
        shape = next(iter(feed.values())).shape
        tokens = shape[1] if len(shape) == 2 else 0  # noqa: PLR2004 - (batch, tokens); images have more
        spread = (statistics.median(seconds), min(seconds), max(seconds))
        batches.append(BatchSpeed(shape[0], tokens, *(1e3 * value for value in spread)))
    return Speed(statistics.median(speeds), min(speeds), max(speeds), len(taken), tuple(batches))


def _open(path: Path, threads: int) -> Any:
    """Open a graph as the core does: no spinning threads, which would take the cores from the others."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
