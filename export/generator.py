"""
What a generator's own files say beside its weights: when it stops, how it is asked, how it likes to sample.

Read through transformers where transformers decides (chat template, special tokens), from the files where its
defaults would hide what the authors wrote (`generation_config.json`).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from export.artifacts import SourceModel
from export.errors import ModelUnreadable, ParityFailed
from export.original import quiet
from export.runtime.decoder.detokenizing import Vocabulary

SAMPLING_FIELDS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
"""What of `generation_config.json` a caller's request is overlaid on; vLLM reads the same ones."""

TEXTS = (
    "Hello, world!",
    " leading and trailing spaces ",
    "ÀÉÎÕÜ straße 机器学习 Привет שלום 👩‍👩‍👧‍👦",
    "def add(a, b):\n    return a + b  # 1234567890\n\n\n",
)
"""Texts on which tokenizers differ when one of them was set up otherwise."""


@dataclass(frozen=True)
class Generator:
    """What a generator's files say."""

    eos_token_ids: tuple[int, ...]
    """Tokens that end an answer; more than one where turns and texts end differently."""

    bos_token_id: int | None
    """The token that texts start with; None if the model has none."""

    adds_bos: bool
    """Whether the tokenizer itself puts that token before a text."""

    chat_template: str | None
    """Jinja template that makes a prompt of messages; None for a model that isn't for chats."""

    special_tokens: dict[str, str]
    """Texts of the special tokens by their names, as templates ask for them."""

    default_sampling: dict[str, float]
    """How its authors want it sampled; empty if they don't say."""


def read_generator(source: SourceModel) -> Generator:
    """
    Read what a generator's files say.

    Args:
        source: The model's files.

    Returns:
        What they say.

    Raises:
        ModelUnreadable: If transformers can't read the tokenizer, or a file isn't JSON.

        ParityFailed: If `tokenizer.json` alone makes other tokens than transformers does.
    """
    tokenizer = load_tokenizer(source)
    bare = Vocabulary(source.tokenizer_file)
    check_tokens(
        source, bare, tokenizer, [*TEXTS, *(TEXTS[0] + token for token in tokenizer.all_special_tokens)]
    )
    config = read_json(source.folder / "config.json")
    generation = read_json(source.folder / "generation_config.json")
    bos_token_id = tokenizer.bos_token_id
    starts = bare.encode("a")[:1]
    template = tokenizer.chat_template
    if isinstance(template, dict):
        template = template.get("default")
    named = {
        name: str(text) for name, text in tokenizer.special_tokens_map.items() if not isinstance(text, list)
    }
    return Generator(
        eos_token_ids=as_ids(generation.get("eos_token_id", config.get("eos_token_id"))),
        bos_token_id=bos_token_id,
        adds_bos=bos_token_id is not None and starts == [bos_token_id],
        chat_template=template,
        special_tokens=named,
        default_sampling=read_sampling(generation),
    )


def load_tokenizer(source: SourceModel) -> Any:
    """
    Load a model's tokenizer as transformers does.

    Args:
        source: The model's files.

    Returns:
        The tokenizer.

    Raises:
        ModelUnreadable: If it can't be loaded.
    """
    with quiet():
        try:
            return AutoTokenizer.from_pretrained(
                str(source.folder), local_files_only=True, trust_remote_code=source.trust_remote_code
            )
        # Every layer below raises its own: OSError, ValueError, KeyError.
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelUnreadable(
                f"The tokenizer of '{source.model_id}' can't be loaded: {reason[0].rstrip('.')}. "
                "Download the model again."
            ) from error


def check_tokens(source: SourceModel, bare: Vocabulary, tokenizer: Any, texts: Sequence[str]) -> None:
    """
    See that `tokenizer.json` alone, which is all that Triton gets, makes the tokens that transformers makes.

    Args:
        source: The model's files, for the message.

        bare: The file's tokenizer, as the runtime loads it.

        tokenizer: The one that transformers loads.

        texts: What to compare them on.

    Raises:
        ParityFailed: If they differ, naming the text.
    """
    for text in texts:
        found, expected = bare.encode(text), tokenizer(text)["input_ids"]
        if found != expected:
            raise ParityFailed(
                f"tokenizer.json of '{source.model_id}' makes other tokens of {text!r} than transformers does "
                f"({len(found)} and {len(expected)}). Write it anew with "
                "AutoTokenizer.from_pretrained(folder).save_pretrained(folder) and export again."
            )


def read_sampling(generation: dict[str, Any]) -> dict[str, float]:
    """
    Read how a model wants to be sampled.

    Args:
        generation: The content of `generation_config.json`.

    Returns:
        Value by name, in vLLM's names. A model that isn't meant to be sampled keeps its repetition penalty only.
    """
    does_sample = generation.get("do_sample", False)
    return {
        name: generation[name]
        for name in SAMPLING_FIELDS
        if isinstance(generation.get(name), int | float) and (does_sample or name == "repetition_penalty")
    }


def as_ids(found: int | Sequence[int] | None) -> tuple[int, ...]:
    """
    Read token ids that a file gives as one number, as a list, or not at all.

    Args:
        found: What the file has.

    Returns:
        The ids.
    """
    if found is None:
        return ()
    return (int(found),) if isinstance(found, int) else tuple(int(token) for token in found)


def read_json(path: Path) -> dict[str, Any]:
    """
    Read one of the model's JSON files.

    Args:
        path: The file.

    Returns:
        Its content; empty if there is no such file.

    Raises:
        ModelUnreadable: If it isn't JSON.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ModelUnreadable(f"{path} can't be read ({error}). Download the model again.") from error
