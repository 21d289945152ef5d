"""
One contender in a process of its own: ``python -m tests.load.decoder.contenders NAME``.

It loads its model, says `ready`, and then for each number on stdin answers so many requests of 16 random tokens with
64 tokens each, all there at once; a line of JSON says how long it took, reading the prompts included.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING

import numpy as np

from tests.load.decoder import models

if TYPE_CHECKING:
    from collections.abc import Callable

Prompts = list[list[int]]
"""Token ids of each request."""

PROMPT_TOKENS = 16
NEW_TOKENS = 64


def ours(precision: str) -> Callable[[Prompts], int]:
    """Load our engine, with sampling and text as in production, without Triton."""
    from export.runtime.decoder.choices import Choice  # noqa: PLC0415 - each process loads its own contender alone
    from export.runtime.decoder.detokenizing import Vocabulary  # noqa: PLC0415
    from export.runtime.decoder.engine import Engine, EngineLimits, Request  # noqa: PLC0415
    from export.runtime.decoder.graph import GraphSettings, OnnxGraph  # noqa: PLC0415
    from export.runtime.decoder.parameters import Parameters  # noqa: PLC0415
    from export.runtime.decoder.sampling import Sampler  # noqa: PLC0415

    settings = GraphSettings(
        layers=models.LAYERS,
        kv_heads=models.KV_HEADS,
        head_dim=models.HEAD_DIM,
        vocab_size=models.VOCAB_SIZE,
        max_model_len=512,
        slots=32,
        kv_memory_bytes=2**30,
        threads=models.THREADS,
    )
    graph = OnnxGraph(models.make_graph(precision) / "model.onnx", settings)
    vocabulary = Vocabulary(models.make_original() / "tokenizer.json")
    engine = Engine(graph, Sampler(models.VOCAB_SIZE), EngineLimits(32, 128, 1024))
    parameters = Parameters(temperature=0.0, max_tokens=NEW_TOKENS, ignore_eos=True)

    def answer(prompts: Prompts) -> int:
        before = engine.generated_tokens
        for number, prompt in enumerate(prompts):
            choice = Choice(number, 0, parameters, prompt, vocabulary=vocabulary, eos_token_ids=[1])
            engine.submit(Request(number, prompt, parameters, [choice]))
        while engine.has_work:
            engine.step()
        return engine.generated_tokens - before

    return answer


def transformers_one_by_one() -> Callable[[Prompts], int]:
    """Load transformers; it answers one request after the other."""
    import torch  # noqa: PLC0415
    from transformers import LlamaForCausalLM  # noqa: PLC0415

    torch.set_num_threads(models.THREADS)
    model = LlamaForCausalLM.from_pretrained(models.make_original())

    def answer(prompts: Prompts) -> int:
        tokens = 0
        # All take the same time, so four tell as much as 32.
        for prompt in prompts[:4]:
            ids = torch.tensor([prompt])
            whole = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=0,
                eos_token_id=None,
            )
            tokens += whole.shape[1] - len(prompt)
        return tokens

    return answer


def genai_static_batch(precision: str) -> Callable[[Prompts], int]:
    """Load onnxruntime-genai; it answers all requests as one batch, the same graph as ours."""
    import onnxruntime_genai  # noqa: PLC0415

    model = onnxruntime_genai.Model(str(models.make_graph(precision)))

    def answer(prompts: Prompts) -> int:
        params = onnxruntime_genai.GeneratorParams(model)
        length = PROMPT_TOKENS + NEW_TOKENS
        params.set_search_options(
            batch_size=len(prompts), max_length=length, min_length=length, do_sample=False
        )
        generator = onnxruntime_genai.Generator(model, params)
        generator.append_tokens(np.array(prompts, dtype=np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return sum(len(generator.get_sequence(row)) - PROMPT_TOKENS for row in range(len(prompts)))

    return answer


CONTENDERS: dict[str, Callable[[], Callable[[Prompts], int]]] = {
    "ours fp32": lambda: ours("fp32"),
    "ours int8": lambda: ours("int8"),
    "ours int8-dynamic": lambda: ours("int8-dynamic"),
    "genai fp32": lambda: genai_static_batch("fp32"),
    "genai int8": lambda: genai_static_batch("int8"),
    "transformers": transformers_one_by_one,
}
"""What loads each contender; the result answers prompts and says how many tokens it made."""


def main() -> None:
    """Load the contender that is named, and answer until stdin ends."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    answer = CONTENDERS[sys.argv[1]]()
    chance = np.random.default_rng(0)
    print("ready", flush=True)  # noqa: T201 - stdout is how it answers
    for line in sys.stdin:
        prompts = chance.integers(2, models.VOCAB_SIZE, size=(int(line), PROMPT_TOKENS)).tolist()
        cpu, started = time.process_time(), time.perf_counter()
        tokens = answer(prompts)
        took_s = time.perf_counter() - started
        told = {"tokens": tokens, "tokens_per_s": tokens / took_s, "cpu_s": time.process_time() - cpu}
        print(json.dumps(told), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
