"""
Parity of generators: what the decoder writes against what transformers writes, token by token.

fp32 is held to the same text: prompts of 1 to 700 tokens go through the runtime's own engine all at once (chunked
prefill, rows of all lengths side by side), and every greedy token must be the one that transformers finds likeliest.
Two tokens may be as good as equally likely, and then the order of additions decides: the measure is therefore by how
much transformers' own logit of the chosen token is below its best one, 0 for the same token.

Lower precisions change the model, so their text may leave the original's at some point. They are fed a given text
token by token, and compared in what they expect next: how often the likeliest token is the same, and how much less
they expect the true one (perplexity).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoModelForCausalLM

from export.artifacts import Draft, ParityReport, SourceModel
from export.errors import ModelUnreadable, ParityFailed
from export.generator import check_tokens, load_tokenizer
from export.local_decoder import LocalDecoder
from export.original import quiet
from export.parity import Comparison
from export.parity_prose import PROSE
from export.runtime.decoder.detokenizing import Vocabulary

PROMPT_TOKENS = (1, 2, 3, 16, 31, 64, 127, 128, 129, 256, 300, 511, 700)
"""Lengths of the prompts: one token, around the borders of a prefill chunk, several chunks."""

NEW_TOKENS = 24
"""Tokens that follow each prompt."""

WINDOW_TOKENS = 320
"""Tokens of the given text that a lower precision is fed: half as a prompt, half one by one, where it is judged."""

WINDOW_STARTS = (0, 160, 320, 480)
"""Where in the text each row begins: the half that is judged of one is the prompt of the next."""

Logits = npt.NDArray[np.float32]


class Written(NamedTuple):
    """What transformers writes after one prompt."""

    token_ids: list[int]
    """The tokens, the end-of-sequence token included if it came."""

    logits: Logits
    """Their logits, of shape (tokens, vocabulary)."""


def compare_generations(source: SourceModel, draft: Draft, precision: str) -> ParityReport:
    """
    Compare an assembled decoder with transformers.

    Args:
        source: The original's files.

        draft: The version's folders.

        precision: The number format of the graph; picks the measure and the tolerance.

    Returns:
        The figures, all within the tolerance.

    Raises:
        ParityFailed: If one of them isn't, naming the worst prompt.
    """
    tokenizer = load_tokenizer(source)
    decoder = LocalDecoder(draft.door_folder)
    check_tokens(source, decoder.vocabulary, tokenizer, PROSE.split("\n\n"))
    original = load_causal_model(source)
    if precision == "fp32":
        return compare_greedy(original, decoder, tokenizer)
    return compare_expectations(original, decoder, precision)


def load_causal_model(source: SourceModel) -> Any:
    """
    Load a causal language model on the CPU, in fp32.

    Args:
        source: The model's files.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelUnreadable: If its files are damaged, or not a model that transformers knows.
    """
    with quiet():
        try:
            model = AutoModelForCausalLM.from_pretrained(
                str(source.folder),
                dtype=torch.float32,
                local_files_only=True,
                trust_remote_code=source.trust_remote_code,
            )
            return model.eval()
        # Every layer below raises its own: OSError, ValueError, KeyError, RuntimeError, SafetensorError.
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelUnreadable(
                f"'{source.model_id}' can't be loaded: {reason[0].rstrip('.')}. Download it again, or check its files."
            ) from error


def compare_greedy(original: Any, decoder: LocalDecoder, tokenizer: Any) -> ParityReport:
    """
    Hold an fp32 decoder to the original's own words.

    Args:
        original: The original.

        decoder: The decoder.

        tokenizer: The tokenizer, as transformers loads it.

    Returns:
        The figures.

    Raises:
        ParityFailed: If a token or a text differs.
    """
    comparison = Comparison("text-generation", "fp32", measure="greedy")
    prompts = make_prompts(decoder.vocabulary, decoder.max_model_len - NEW_TOKENS)
    answers = decoder.write(prompts, NEW_TOKENS)
    labels, gaps = [], []
    for prompt, answer in zip(prompts, answers, strict=True):
        label = f"prompt of {len(prompt)} tokens: {decoder.vocabulary.decode(prompt[-8:])}"
        expected = write_greedily(original, prompt, NEW_TOKENS, decoder.eos_token_ids)
        gaps.append(find_gap(expected, answer.token_ids))
        labels.append(label)
        text = tokenizer.decode(
            answer.token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        if text != answer.text:
            raise ParityFailed(
                f"The decoder's text {answer.text!r} isn't what transformers makes of its tokens, {text!r} ({label}). "
                "Report this model."
            )
    longest = max(len(prompt) for prompt in prompts)
    comparison.add("greedy", labels, longest, {"max_greedy_gap": np.asarray(gaps)})
    return comparison.report()


def make_prompts(vocabulary: Vocabulary, longest: int) -> list[list[int]]:
    """
    Cut prompts out of the given text.

    Args:
        vocabulary: The tokenizer, as the runtime loads it.

        longest: Tokens of the longest prompt that still fits.

    Returns:
        Token ids of each; the same ones each time.
    """
    ids = vocabulary.encode(PROSE)
    ids = ids * (1 + max(PROMPT_TOKENS) // len(ids))
    lengths = sorted({min(length, longest) for length in PROMPT_TOKENS})
    return [ids[:length] for length in lengths]


@torch.inference_mode()
def write_greedily(original: Any, prompt: Sequence[int], count: int, eos_token_ids: Sequence[int]) -> Written:
    """
    Let the original write after a prompt, always the likeliest token.

    Args:
        original: The original.

        prompt: Token ids.

        count: Tokens at most.

        eos_token_ids: Tokens that end the text.

    Returns:
        What it wrote.
    """
    ids = torch.tensor([list(prompt)])
    past, written, kept = None, [], []
    for _ in range(count):
        output = original(input_ids=ids, past_key_values=past, use_cache=True, logits_to_keep=1)
        past, logits = output.past_key_values, output.logits[0, -1].float()
        token = int(logits.argmax())
        written.append(token)
        kept.append(logits.numpy())
        if token in eos_token_ids:
            break
        ids = torch.tensor([[token]])
    return Written(written, np.stack(kept))


def find_gap(expected: Written, found: Sequence[int]) -> float:
    """
    Measure by how much the original prefers its own token where the decoder wrote another for the first time.

    Args:
        expected: What the original wrote.

        found: What the decoder wrote.

    Returns:
        Difference of the original's two logits; 0 if all tokens are the same, infinite if one text is longer.
    """
    for place, (token, other) in enumerate(zip(expected.token_ids, found, strict=False)):
        if token != other:
            row = expected.logits[place]
            return float(row[token] - row[other])
    return 0.0 if len(expected.token_ids) == len(found) else float("inf")


@torch.inference_mode()
def compare_expectations(original: Any, decoder: LocalDecoder, precision: str) -> ParityReport:
    """
    Hold a decoder of lower precision to what the original expects of a given text.

    Args:
        original: The original.

        decoder: The decoder.

        precision: The number format; picks the tolerance.

    Returns:
        The figures.

    Raises:
        ParityFailed: If they are not within the tolerance, naming the worst part of the text.
    """
    comparison = Comparison("text-generation", precision, measure="next token")
    window = min(WINDOW_TOKENS, decoder.max_model_len - 1)
    start = window // 2
    ids = decoder.vocabulary.encode(PROSE)
    rows = [ids[first : first + window] for first in WINDOW_STARTS if first + window <= len(ids)]
    labels, agreements, ratios = [], [], []
    for row, logits in zip(rows, decoder.read(rows, start), strict=True):
        whole = original(input_ids=torch.tensor([row])).logits[0].float().numpy()
        expected = whole[start - 1 : -1]  # (window - start, vocabulary)
        following = np.asarray(row[start:])
        agreements.append(float((logits.argmax(axis=1) == expected.argmax(axis=1)).mean()))
        ratios.append(float(np.exp(mean_surprise(logits, following) - mean_surprise(expected, following))))
        labels.append(decoder.vocabulary.decode(row[start : start + 12]))
    figures = {"mean_next_token": np.asarray(agreements), "max_perplexity_ratio": np.asarray(ratios)}
    comparison.add("given text", labels, window, figures)
    return comparison.report()


def mean_surprise(logits: Logits, following: npt.NDArray[np.int64]) -> float:
    """
    Measure how unexpected a text is, the logarithm of its perplexity.

    Args:
        logits: float32 array of shape (tokens, vocabulary).

        following: int64 array of shape (tokens,), the token that came next.

    Returns:
        Mean negative log probability, in nats.
    """
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    log_sums = np.log(np.exp(wide).sum(axis=1))
    return float((log_sums - wide[np.arange(len(following)), following]).mean())
