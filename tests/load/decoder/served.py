"""
What Triton and the façade add to the bare engine: ``python -m tests.load.decoder.served``.

One model, the same engine, in turn: alone in a process of its own, and behind Triton and the façade with callers who
read streams, all on the same cores. Ratios are taken within rounds; the median of the rounds and their spread count.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.local.triton import TritonServer
from tests.load.decoder import models
from tests.load.decoder.streams import completion_body, read_stream, read_together
from tests.load.machine import CHECKOUT
from tests.load.rounds import spread_of
from tests.stack import KEY, start_facade

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.load.rounds import Spread

MODEL_NAME = "chat100m"
PROMPT_TOKENS, NEW_TOKENS = 16, 64
CONCURRENCIES = (8, 32)
PREFIX_TOKENS = 512
TOKENIZER_FOLDER = CHECKOUT / "deploy" / "local" / "tiny_chat" / "model"
FIRSTS = 20
"""Measurements of a first token; their median counts."""


class Texts:
    """Prompts of a given number of tokens, all different."""

    def __init__(self, tokenizer_file: Path) -> None:
        from tokenizers import Tokenizer  # noqa: PLC0415 - what the child process doesn't need

        self._tokenizer = Tokenizer.from_file(str(tokenizer_file))
        self._chooser = random.Random(0)

    def make(self, tokens: int) -> str:
        """Write letters and spaces until there are enough tokens."""
        text = ""
        while len(self._tokenizer.encode(text, add_special_tokens=False).ids) < tokens:
            text += " " + "".join(self._chooser.choices("abcdefghijklmnopqrstuvwxyz", k=4))
        return text


def make_original() -> Path:
    """
    Save a model of the size of `models`, whose every token has a text: a token without one is no frame to wait for.

    Returns:
        Its folder.
    """
    folder = models.FOLDER / "original-served"
    if (folder / "model.safetensors").exists():
        return folder
    import torch  # noqa: PLC0415 - ten seconds that a run with a ready model doesn't wait for
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(TOKENIZER_FOLDER)
    config.update(
        {
            "hidden_size": models.HEADS * models.HEAD_DIM,
            # NOTE: genai's builder takes any layer as wide as the vocabulary for the last one.
            "intermediate_size": models.FEED_FORWARD + 64,
            "num_hidden_layers": models.LAYERS,
            "num_attention_heads": models.HEADS,
            "num_key_value_heads": models.KV_HEADS,
            "head_dim": models.HEAD_DIM,
            "tie_word_embeddings": False,
        }
    )
    LlamaForCausalLM(config).float().save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        shutil.copyfile(TOKENIZER_FOLDER / name, folder / name)
    return folder


def export(repository: Path, precision: str) -> Path:
    """
    Export the random model, unless that was done before.

    Args:
        repository: Where to.

        precision: The number format of its weights.

    Returns:
        The version's folder.
    """
    command = [sys.executable, "-m", "export", "export", str(make_original()), "--name", MODEL_NAME]
    command += ["--task", "text-generation", "--precision", precision, "--repository", str(repository)]
    subprocess.run([*command, "--skip-existing"], check=True, cwd=CHECKOUT)
    return max((repository / MODEL_NAME).glob("[0-9]*"), key=lambda folder: int(folder.name))


class Bare:
    """The engine alone, in a process of its own that waits for orders."""

    def __init__(self, folder: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.decoder.served", "--bare", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=CHECKOUT,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def ask(self, prompts: Sequence[str], tokens: int) -> dict[str, float]:
        """Have prompts answered together; gives seconds to the first token, and tokens a second."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"prompts": list(prompts), "tokens": tokens}) + "\n")
        self._process.stdin.flush()
        found: dict[str, float] = json.loads(self._process.stdout.readline())
        return found

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=10)


def serve_bare(folder: Path) -> None:
    """Answer orders on stdin with the engine of a version's folder, as Triton's model does but without its threads."""
    from export.runtime.decoder.choices import Choice  # noqa: PLC0415 - only this process loads an engine
    from export.runtime.decoder.detokenizing import Vocabulary  # noqa: PLC0415
    from export.runtime.decoder.engine import Engine, EngineLimits, Request  # noqa: PLC0415
    from export.runtime.decoder.graph import OnnxGraph, read_graph_settings  # noqa: PLC0415
    from export.runtime.decoder.parameters import Parameters  # noqa: PLC0415
    from export.runtime.decoder.sampling import Sampler  # noqa: PLC0415

    settings = json.loads((folder / "decoder.json").read_text(encoding="utf-8"))
    vocabulary = Vocabulary(folder / "tokenizer.json", settings["bos_token_id"])
    limits = EngineLimits(settings["slots"], settings["prefill_chunk"], settings["max_queued"])
    graph = OnnxGraph(folder / settings["graph"], read_graph_settings(settings))
    engine = Engine(graph, Sampler(settings["vocab_size"]), limits)
    print("ready", flush=True)  # noqa: T201 - stdout is how it answers
    for line in sys.stdin:
        order = json.loads(line)
        parameters = Parameters(temperature=0.0, max_tokens=order["tokens"], ignore_eos=True)
        started, first_s, made = time.perf_counter(), 0.0, engine.generated_tokens
        for number, prompt in enumerate(order["prompts"]):
            ids = vocabulary.encode(prompt)
            eos = settings["eos_token_ids"]
            choice = Choice(number, 0, parameters, ids, vocabulary=vocabulary, eos_token_ids=eos)
            engine.submit(Request(number, ids, parameters, [choice]))
        while engine.has_work:
            events = engine.step()
            if events and not first_s:
                first_s = time.perf_counter() - started
        total_s = time.perf_counter() - started
        tokens = engine.generated_tokens - made
        print(json.dumps({"first_s": first_s, "tokens_per_s": tokens / total_s}), flush=True)  # noqa: T201


def measure_throughput(bare: Bare, url: str, texts: Texts, concurrency: int) -> dict[str, float]:
    """Tokens a second of both, with so many prompts at once."""
    prompts = [texts.make(PROMPT_TOKENS) for _ in range(2 * concurrency)]
    alone = bare.ask(prompts[:concurrency], NEW_TOKENS)["tokens_per_s"]
    bodies = [completion_body(MODEL_NAME, prompt, NEW_TOKENS) for prompt in prompts[concurrency:]]
    streams, total_s = asyncio.run(read_together(url, KEY, bodies))
    tokens = sum(stream.tokens for stream in streams)
    frames = sum(stream.frames for stream in streams)
    return {
        "bare": alone,
        "served": tokens / total_s,
        "ratio": tokens / total_s / alone,
        "frames": frames / tokens,
    }


def first_token_s(url: str, prompt: str) -> float:
    """Seconds to the first piece of one stream."""
    stream = asyncio.run(read_stream(url, KEY, completion_body(MODEL_NAME, prompt, 4)))
    assert stream is not None
    return stream.first_s


def measure_first(bare: Bare, url: str, texts: Texts) -> dict[str, float]:
    """Medians of the time to the first token with one caller, in ms: alone, served, and the difference."""
    alone, served = [], []
    for _ in range(FIRSTS):
        alone.append(bare.ask([texts.make(PROMPT_TOKENS)], 4)["first_s"])
        served.append(first_token_s(url, texts.make(PROMPT_TOKENS)))
    p50 = {"bare": statistics.median(alone) * 1000, "served": statistics.median(served) * 1000}
    return {**p50, "added": p50["served"] - p50["bare"]}


def measure_prefix(url: str, texts: Texts) -> dict[str, float]:
    """Medians of the time to the first token, in ms: with a beginning nobody sent before, and with a shared one."""
    shared = texts.make(PREFIX_TOKENS)
    first_token_s(url, shared + texts.make(PROMPT_TOKENS))
    new, known = [], []
    for _ in range(max(FIRSTS // 4, 3)):
        new.append(first_token_s(url, texts.make(PREFIX_TOKENS) + texts.make(PROMPT_TOKENS)))
        known.append(first_token_s(url, shared + texts.make(PROMPT_TOKENS)))
    p50 = {"new": statistics.median(new) * 1000, "known": statistics.median(known) * 1000}
    return {**p50, "ratio": p50["known"] / p50["new"]}


def to_table(found: dict[str, list[dict[str, float]]]) -> str:
    """
    Write the figures asked for as a table.

    Args:
        found: Rounds by measure.

    Returns:
        Markdown.
    """

    def spread(measure: str, figure: str) -> Spread:
        return spread_of([one[figure] for one in found[measure]])

    rows = [
        (
            f"tokens/s through the façade ÷ the bare engine's, {number} streams",
            f"throughput-{number}",
            "ratio",
            2,
        )
        for number in CONCURRENCIES
    ]
    rows.append(("time to first token added by façade and Triton, one caller, p50, ms", "first", "added", 1))
    rows.append(
        (
            f"time to first token with a shared start of {PREFIX_TOKENS} tokens ÷ a new one",
            "prefix",
            "ratio",
            2,
        )
    )
    lines = ["| measure | median | spread |", "| --- | --- | --- |"]
    for words, measure, figure, digits in rows:
        value = spread(measure, figure)
        lines.append(
            f"| {words} | {value.median:.{digits}f} | {value.least:.{digits}f} - {value.most:.{digits}f} |"
        )
    return "\n".join(lines)


def run(rounds: int, precision: str, say: Callable[[str], None]) -> dict[str, Any]:
    """
    Measure.

    Args:
        rounds: How many.

        precision: The number format of the model's weights.

        say: Takes a line of progress.

    Returns:
        Rounds by measure.
    """
    repository = models.FOLDER / f"served-{precision}"
    folder = export(repository, precision)
    texts = Texts(folder / "tokenizer.json")
    found: dict[str, list[dict[str, float]]] = {}
    bare = Bare(folder)
    try:
        with TritonServer(repository) as triton, start_facade(triton.grpc_url) as facade:
            first_token_s(facade.url, texts.make(PROMPT_TOKENS))
            bare.ask([texts.make(PROMPT_TOKENS)], 4)
            for number in range(1, rounds + 1):
                for concurrency in CONCURRENCIES:
                    one = measure_throughput(bare, facade.url, texts, concurrency)
                    found.setdefault(f"throughput-{concurrency}", []).append(one)
                    say(f"round {number}, {concurrency} streams: {one}")
                for name, one in (
                    ("first", measure_first(bare, facade.url, texts)),
                    ("prefix", measure_prefix(facade.url, texts)),
                ):
                    found.setdefault(name, []).append(one)
                    say(f"round {number}, {name}: {one}")
    finally:
        bare.close()
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Measure, or be the engine of somebody who does.

    Args:
        arguments: Without the program's name; None for the process's own.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.load.decoder.served", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds (default: 3)")
    parser.add_argument("--precision", default="fp32", choices=models.PRECISIONS, help="default: fp32")
    parser.add_argument("--json", type=Path, help="also write all figures there")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.bare is not None:
        serve_bare(chosen.bare)
        return 0
    found = run(chosen.rounds, chosen.precision, lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(found, indent=2), encoding="utf-8")
    print(to_table(found))  # noqa: T201 - the table is the result
    return 0


if __name__ == "__main__":
    sys.exit(main())
