"""
What the model itself can do here: texts known beforehand, sorted by length, all cores, no server.

A program of its own: reads an `OfflineSpec` as JSON from stdin and writes ``{"event": "begins"}``,
``{"event": "ends"}`` and its `OfflineResult`, as load generators do. One onnxruntime session of one thread, run by as
many threads as there are cores; texts are tokenized before the clock starts and grouped so that a call has few padded
tokens, which is what runs fastest. Groups are called in random order until the time is over.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
from tokenizers import Tokenizer  # type: ignore[import-untyped]

from tests.load.generator import say
from tests.load.texts import make_texts, read_words

if TYPE_CHECKING:
    from collections.abc import Sequence

TEXTS = 4_096
PADDED_TOKENS = 512
"""In a call: 10 to 17 % faster than 2,048 on a CPU."""


@dataclass(frozen=True)
class OfflineSpec:
    """What to run."""

    contender: str
    """Its name."""

    graph: str
    """The ONNX file."""

    tokenizer_file: str
    """The tokenizer, where words come from too."""

    traffic: str
    """Kind of texts."""

    seed: str
    """Fixes them."""

    threads: int
    """Calls at a time."""

    max_tokens: int
    """Where texts are cut."""

    warmup_s: float
    """Seconds before the measured ones."""

    measure_s: float
    """Seconds measured."""


@dataclass
class OfflineResult:
    """What was done."""

    texts: int
    """In calls that ended within the measured seconds."""

    measured_s: float
    """How long they were."""

    cpu_s: float
    """CPU time of this program within them."""


def group_by_length(lengths: Sequence[int], padded_tokens: int = PADDED_TOKENS) -> list[list[int]]:
    """
    Sort texts and part them into calls.

    Args:
        lengths: Tokens by text.

        padded_tokens: Texts times the longest one's tokens, at most, if more than one text is in a group.

    Returns:
        Positions of the texts, by call.
    """
    groups: list[list[int]] = [[]]
    for position in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups[-1] and (len(groups[-1]) + 1) * lengths[position] > padded_tokens:
            groups.append([])
        groups[-1].append(position)
    return groups


def main() -> None:
    """Read what to run, run it, write how far it came."""
    spec = OfflineSpec(**json.load(sys.stdin))
    feeds = _prepare(spec)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(spec.graph, options, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]
    counts = [0] * spec.threads
    over = threading.Event()

    def run(thread: int) -> None:
        source = random.Random(thread)
        while not over.is_set():
            feed = source.choice(feeds)
            session.run(None, {name: feed[name] for name in names})
            counts[thread] += len(feed["input_ids"])

    threads = [threading.Thread(target=run, args=(thread,)) for thread in range(spec.threads)]
    for thread in threads:
        thread.start()
    time.sleep(spec.warmup_s)
    say({"event": "begins"})
    before, cpu_before_s, started = sum(counts), time.process_time(), time.perf_counter()
    time.sleep(spec.measure_s)
    measured_s, cpu_s = time.perf_counter() - started, time.process_time() - cpu_before_s
    result = OfflineResult(sum(counts) - before, measured_s, cpu_s)
    say({"event": "ends"})
    over.set()
    for thread in threads:
        thread.join()
    say(asdict(result))


def _prepare(spec: OfflineSpec) -> list[dict[str, Any]]:
    texts = list(
        islice(make_texts(read_words(Path(spec.tokenizer_file)), spec.traffic, spec.seed, "offline"), TEXTS)
    )
    tokenizer = Tokenizer.from_file(spec.tokenizer_file)
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_tokens)
    encodings = tokenizer.encode_batch(texts)
    feeds = []
    for group in group_by_length([len(encoding.ids) for encoding in encodings]):
        width = max(len(encodings[position].ids) for position in group)
        feed = {
            name: np.zeros((len(group), width), np.int64)
            for name in ("input_ids", "attention_mask", "token_type_ids")
        }
        for row, position in enumerate(group):
            ids = encodings[position].ids
            feed["input_ids"][row, : len(ids)] = ids
            feed["attention_mask"][row, : len(ids)] = 1
        feeds.append(feed)
    return feeds


if __name__ == "__main__":
    main()
