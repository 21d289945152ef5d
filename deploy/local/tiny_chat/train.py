"""
Makes `model/`: the toy's tokenizer and weights, from nothing, with a fixed seed.

    python -m deploy.local.tiny_chat.train --out FOLDER

Needs the `export` extra. Takes about eleven minutes on two cores. The same versions of Python, torch and tokenizers on
the same kind of processor give the same bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, set_seed

from deploy.local.tiny_chat import wording
from deploy.local.tiny_chat.corpus import Corpus, Row, texts_for_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tokenizers import Tokenizer  # type: ignore[import-untyped]

SEED = 20_261_123
THREADS = 2
STEPS = 600
ROWS, ROW_TOKENS = 8, 256
"""What one step looks at."""

LONG_EVERY, LONG_ROWS, LONG_TOKENS = 12, 2, 1024
"""Each so many steps there are fewer and longer rows, so that far positions are known too."""

TEXT_EVERY = 10
"""Each so many steps look at the documentation instead of dialogues."""

MATRIX_RATE, OTHER_RATE = 0.015, 0.003
"""How far one step moves a matrix (its spectral norm), and what is not a matrix (AdamW)."""

WARMUP_STEPS, MOMENTUM = 30, 0.95
GREETING_SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.9}
"""What callers get who ask for nothing else."""

CONTEXT_TOKENS = 1024
TOKENIZER_DIALOGUES = 6000


def make_tokenizer() -> Any:
    """
    Train the tokenizer.

    Returns:
        The transformers tokenizer, with its chat template.
    """
    texts = texts_for_tokenizer(SEED, TOKENIZER_DIALOGUES)
    return wrap_tokenizer(wording.train_tokenizer(texts))


def wrap_tokenizer(tokenizer: Tokenizer) -> Any:
    """
    Make a transformers tokenizer of a bare one.

    Args:
        tokenizer: The bare one.

    Returns:
        The same with names of special tokens and the chat template.
    """
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=wording.BOS,
        eos_token=wording.END,
        pad_token=wording.PAD,
        additional_special_tokens=[wording.EOS, wording.START],
        model_max_length=CONTEXT_TOKENS,
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = wording.CHAT_TEMPLATE
    return wrapped


def make_model() -> Any:
    """
    Make the model with its first, random weights.

    Returns:
        A Llama of 4.95 million parameters.
    """
    ids = {token: place for place, token in enumerate(wording.SPECIAL_TOKENS)}
    config = LlamaConfig(
        vocab_size=wording.VOCAB_SIZE,
        hidden_size=320,
        intermediate_size=800,
        num_hidden_layers=4,
        num_attention_heads=10,
        num_key_value_heads=5,
        max_position_embeddings=CONTEXT_TOKENS,
        tie_word_embeddings=True,
        bos_token_id=ids[wording.BOS],
        eos_token_id=[ids[wording.END], ids[wording.EOS]],
        pad_token_id=ids[wording.PAD],
    )
    return LlamaForCausalLM(config)


def make_batch(corpus: Corpus, step: int) -> list[Row]:
    """
    Choose what a step looks at.

    Args:
        corpus: Where rows come from.

        step: The step.

    Returns:
        Rows of equal length.
    """
    if step % LONG_EVERY == LONG_EVERY - 1:
        return [corpus.long_row(LONG_TOKENS) for _ in range(LONG_ROWS)]
    if step % TEXT_EVERY == TEXT_EVERY - 1:
        return [corpus.text_row(ROW_TOKENS) for _ in range(ROWS)]
    return [corpus.dialogue_row(ROW_TOKENS) for _ in range(ROWS)]


class Optimizer:
    """
    Muon for the matrices inside the layers, AdamW for the rest.

    Source:
        Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks". In trials of 48 steps it
        came to a loss of 3.2 where AdamW came to 4.0.
    """

    def __init__(self, model: Any) -> None:
        named = list(model.named_parameters())
        self._matrices = [value for name, value in named if name.endswith("_proj.weight")]
        others = [value for name, value in named if not name.endswith("_proj.weight")]
        self._momenta = [torch.zeros_like(matrix) for matrix in self._matrices]
        self._others = torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.98), weight_decay=0.0)

    @torch.no_grad()
    def step(self, share: float) -> None:
        """
        Move all weights.

        Args:
            share: Of the full rates, 0 to 1.
        """
        for group in self._others.param_groups:
            group["lr"] = OTHER_RATE * share
        self._others.step()
        for matrix, momentum in zip(self._matrices, self._momenta, strict=True):
            assert matrix.grad is not None  # noqa: S101 - backward has just filled it
            momentum.lerp_(matrix.grad, 1 - MOMENTUM)
            direction = orthogonalize(matrix.grad.lerp(momentum, MOMENTUM))
            # A tall matrix moves further: its outputs are the more of its numbers.
            tallness = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
            matrix.add_(direction, alpha=-MATRIX_RATE * share * tallness)


def orthogonalize(matrix: torch.Tensor) -> torch.Tensor:
    """
    Bring all singular values of a matrix near 1, by five rounds of a Newton-Schulz iteration.

    Args:
        matrix: float32 tensor of shape (rows, columns).

    Returns:
        float32 tensor of the same shape.

    Source:
        The coefficients are Jordan et al.'s (2024), chosen for speed near zero.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    is_tall = matrix.shape[0] > matrix.shape[1]
    found: torch.Tensor = matrix.T if is_tall else matrix
    found = found / (found.norm() + 1e-7)
    for _ in range(5):
        square = found @ found.T
        found = a * found + (b * square + c * square @ square) @ found
    return found.T if is_tall else found


def weighted_loss(model: Any, rows: list[Row]) -> tuple[torch.Tensor, float]:
    """
    Predict every token of some rows from the ones before it.

    Args:
        model: The model.

        rows: Rows of equal length.

    Returns:
        The mean loss by weight, and the mean loss of what the assistant says (nan if it says nothing), both in nats.
    """
    ids = torch.tensor([row.ids for row in rows])  # (rows, tokens)
    weights = torch.tensor([row.weights for row in rows])[:, 1:]
    logits = model(input_ids=ids).logits[:, :-1]  # (rows, tokens - 1, vocabulary)
    losses = functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(
        weights.shape
    )
    said = weights == 1.0
    return (losses * weights).sum() / weights.sum(), float((losses * said).detach().sum() / said.sum())


def train(model: Any, corpus: Corpus, steps: int, say: Callable[[str], None]) -> None:
    """
    Train a model.

    Args:
        model: The model; its weights change.

        corpus: Where rows come from.

        steps: How many.

        say: Takes one line of progress at a time.
    """
    optimizer = Optimizer(model)
    started = time.monotonic()
    model.train()
    for step in range(steps):
        loss, said_loss = weighted_loss(model, make_batch(corpus, step))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / (0.6 * steps)))
        model.zero_grad()
        if step % 20 == 0 or step == steps - 1:
            say(
                f"step {step}, {time.monotonic() - started:.0f} s, loss {loss.item():.3f}, of answers {said_loss:.3f}"
            )
    model.eval()


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """
    Write a Hugging Face folder.

    Args:
        model: The model; its weights become float16, which halves the file.

        tokenizer: Its tokenizer.

        folder: Where to.
    """
    ids = model.config
    model.generation_config = GenerationConfig(
        bos_token_id=ids.bos_token_id,
        eos_token_id=ids.eos_token_id,
        pad_token_id=ids.pad_token_id,
        **GREETING_SAMPLING,
    )
    model.half().save_pretrained(folder)
    tokenizer.save_pretrained(folder, save_jinja_files=False)


def main() -> None:
    """Train, and write the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--steps", type=int, default=STEPS, help="fewer are only good for a trial")
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(mode=True)
    set_seed(SEED)
    tokenizer = make_tokenizer()
    model = make_model()
    started, cpu_started = time.monotonic(), time.process_time()
    train(model, Corpus(tokenizer, SEED), arguments.steps, lambda line: print(line, flush=True))
    save(model, tokenizer, arguments.out)
    figures = {
        "parameters": model.num_parameters(),
        "seconds": round(time.monotonic() - started),
        "cpu_seconds": round(time.process_time() - cpu_started),
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
